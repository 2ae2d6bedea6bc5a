"""The doctor's options: from the command line, else from the environment."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

API_VERSION: Final = "2024-10-21"


@dataclass(frozen=True, slots=True)
class Options:
    """What to check, and how."""

    url: str
    key: str = field(repr=False)
    key_header: str
    deployment: str
    api_version: str
    conn_str: str | None = field(repr=False)
    namespace: str | None
    hub: str | None
    seconds: float

    @classmethod
    def parse(cls, arguments: Sequence[str] | None) -> "Options":
        """Read the command line, then the environment for what is missing."""
        env = os.environ
        parser = argparse.ArgumentParser(
            prog="python -m app.doctor",
            description="Check a deployment of the proxy from end to end, through the openai SDK.",
            epilog="Pass keys in the environment: other users of this computer can see the command line.",
        )
        parser.add_argument("url", help="where clients call: the proxy, or API Management in front of it")
        parser.add_argument("--key", help="AZURE_OPENAI_API_KEY in the environment", default="")
        parser.add_argument("--key-header", help="the header for the key: %(default)s", default="api-key")
        parser.add_argument("--deployment", default=env.get("AZURE_OPENAI_DEPLOYMENT") or "gpt-4o")
        parser.add_argument("--api-version", default=env.get("OPENAI_API_VERSION") or API_VERSION)
        parser.add_argument("--hub-conn-str", help="AZURE_EVENTHUB_CONN_STR in the environment", default="")
        namespace = "the hub's host name, to read it with your own identity (az login) instead of a connection string"
        parser.add_argument("--hub-namespace", help=namespace, default=env.get("AZURE_EVENTHUB_NAMESPACE"))
        parser.add_argument("--hub-name", default=env.get("AZURE_EVENTHUB_NAME"), help="unless EntityPath names it")
        parser.add_argument("--timeout", type=float, default=60.0, help="seconds for a call: %(default)s")
        given = parser.parse_args(arguments)
        return cls(
            url=given.url.rstrip("/"),
            key=given.key or env.get("AZURE_OPENAI_API_KEY") or "",
            key_header=given.key_header,
            deployment=given.deployment,
            api_version=given.api_version,
            conn_str=given.hub_conn_str or env.get("AZURE_EVENTHUB_CONN_STR") or None,
            namespace=given.hub_namespace or None,
            hub=given.hub_name,
            seconds=given.timeout,
        )
