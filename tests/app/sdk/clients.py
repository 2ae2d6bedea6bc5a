"""Clients of the unmodified openai SDK for Python, for a proxy under test."""

from typing import Any

from openai import AsyncAzureOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from tests.kit.proxy import KEY, ProxyThread


class Place(BaseModel):
    """A structured output."""

    name: str
    height: int


def sync_client(running: ProxyThread, key: str = KEY) -> AzureOpenAI:
    return AzureOpenAI(azure_endpoint=running.url, api_key=key, api_version="2024-10-21", max_retries=0)


def async_client(running: ProxyThread) -> AsyncAzureOpenAI:
    return AsyncAzureOpenAI(azure_endpoint=running.url, api_key=KEY, api_version="2024-10-21", max_retries=0)


def v1_client(running: ProxyThread) -> OpenAI:
    return OpenAI(base_url=f"{running.url}/openai/v1", api_key=KEY, max_retries=0)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]
