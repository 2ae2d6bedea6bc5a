"""ModelRequest: a request to one operation, and what its path and body ask for."""

import json
import re
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from functools import cached_property
from typing import Any

from dev.azure_openai.shapes import Json, ServiceError, identifier, invalid
from dev.azure_openai.simulation import Simulation

MODELS = {
    "gpt-35-turbo-instruct": "gpt-35-turbo-instruct",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4o": "gpt-4o-2024-11-20",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "o1": "o1-2024-12-17",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
    "text-embedding-ada-002": "text-embedding-ada-002",
    "text-embedding-3-small": "text-embedding-3-small",
    "text-embedding-3-large": "text-embedding-3-large",
}
_API_VERSION = re.compile(r"\d{4}-\d\d-\d\d(-preview)?")


@dataclass(frozen=True)
class ModelRequest:
    """One request; `api_version` is None under /openai/v1, where the deployment is the body's model."""

    operation: str
    path_deployment: str | None
    api_version: str | None
    content_type: str
    raw: bytes
    simulation: Simulation

    @cached_property
    def body(self) -> Json:
        """The JSON object or form fields of the request. Raises ServiceError."""
        if self.content_type.startswith("multipart/"):
            return _form(self.content_type, self.raw)
        try:
            body = json.loads(self.raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise invalid(
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
                "your HTTP library correctly. The API expects a JSON payload, but what was sent was not "
                "valid JSON.)"
            )
        return body

    @cached_property
    def deployment(self) -> str:
        """The deployment's name; "" for operations without one. Raises ServiceError if it is missing."""
        return self.path_deployment or ("" if self.operation == "models" else str(self.required("model")))

    @property
    def model(self) -> str:
        """The model of the deployment, which rarely has the same name."""
        return MODELS[max(filter(self.deployment.startswith, MODELS), key=len, default="gpt-4.1-mini")]

    @property
    def reasons(self) -> bool:
        """Whether this is a reasoning model: o1, o3 … or gpt-5 …"""
        return re.match(r"o\d|gpt-5", self.deployment) is not None

    @property
    def streams(self) -> bool:
        return self.body.get("stream") is True

    def required(self, name: str) -> Any:
        """Return a member of the body. Raises ServiceError if it is missing."""
        if self.body.get(name) is None:
            raise invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        return self.body[name]

    @property
    def wants_usage(self) -> bool:
        """Whether the stream ends with usage totals. Raises ServiceError where the service rejects stream_options."""
        options = self.body.get("stream_options")
        if options is None:
            return False
        if self.api_version is not None and self.api_version[:10] < "2024-09-01":
            raise invalid("Unrecognized request argument supplied: stream_options")
        if self.body.get("data_sources"):
            message = "Validation error at #/stream_options: Extra inputs are not permitted"
            raise ServiceError(400, {"error": {"requestid": identifier("", 32), "code": 400, "message": message}})
        if not self.streams:
            raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        return bool(options.get("include_usage"))

    @property
    def obfuscates(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_obfuscation", True))


def _form(content_type: str, raw: bytes) -> Json:
    form = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + raw)
    fields: Json = {}
    for part in form.get_payload() if form.is_multipart() else ():
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        fields[str(part.get_param("name", header="content-disposition"))] = (
            content if part.get_filename() else content.decode()
        )
    return fields


def is_api_version(value: str) -> bool:
    return _API_VERSION.fullmatch(value) is not None
