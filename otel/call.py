"""Call: the facts of one call, collected while it runs; `otel.span` turns them into a span when it ends."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

type Parameter = str | int | float | tuple[str, ...]


FETCH: Final = "fetch_response"
"""The operation that fetches a stored response, whose usage was another call's."""


class Status(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"
    CLIENT_ABORTED = "client_aborted"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_CUT = "upstream_cut"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"
    """By the proxy, while the body was arriving. Like every refusal it has no record."""


@dataclass(slots=True)
class Usage:
    """Token counts by the record's names; a count that upstream did not send is None, never zero.

    `details` holds upstream's `*_details` objects by their own names.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    details: dict[str, dict[str, int]] = field(default_factory=dict)

    def detail(self, name: str) -> int | None:
        """The count called `name` in whichever details object has it."""
        return next((counts[name] for counts in self.details.values() if name in counts), None)


@dataclass(slots=True)
class ToolCall:
    """A tool or function that the model asked for; `arguments` is the text it wrote."""

    id: str | None = None
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class HostedCall:
    """A call of a tool that the service ran by itself: its item's type, id and status."""

    type: str
    id: str | None = None
    status: str | None = None


@dataclass(slots=True)
class Choice:
    """One choice of a response."""

    index: int = 0
    content: str = ""
    refusal: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    finish_reason: str | None = None
    audio_id: str | None = None


@dataclass(slots=True)
class Answer:
    """What upstream sent, as far as it was received; choices are ordered by index."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] = field(default_factory=list)
    usage: Usage | None = None
    usage_source: str = "missing"
    content_filter: dict[str, object] = field(default_factory=dict)
    status: str | None = None
    """A response's own word for its state: queued, in_progress, completed …"""
    hosted_calls: list[HostedCall] = field(default_factory=list)
    """Calls of tools that the service ran by itself."""
    units: dict[str, float] = field(default_factory=dict)
    """What is billed and is no token: counts, or seconds."""
    service_tier: str | None = None
    system_fingerprint: str | None = None
    truncated: bool = False
    """Whether part of it was too large or too malformed to be read."""
    recognized: bool = True
    """Whether it is a response of this operation, by its headers and its bytes; otherwise nothing may be inferred
    from it, such as usage."""
    background: bool = False
    """Whether the response was made in the background."""
    pending: bool = False
    """Whether the response continues in the background: its usage comes with a later fetch."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asked for, as far as the operation understands it.

    `prompt` is JSON; where it is long, in UTF-8.
    """

    model: str | None = None
    stream: bool = False
    prompt: str | bytearray | None = None
    instructions: str | bytearray | None = None
    """JSON: instructions to the model that are separate from the prompt."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Sampling parameters and the like, by their attribute names."""
    previous_response_id: str | None = None
    conversation_id: str | None = None
    """What the request continues."""


@dataclass(slots=True)
class Attempt:
    """One request sent upstream; `http_status` is None if there was no response."""

    backend: str
    at_ns: int
    http_status: int | None = None


@dataclass(slots=True)
class Call:
    """One call: who asked what, of which backend, what came back and when.

    Times named `…_ns` are `time.monotonic_ns()`, except `started_at_ns`: nanoseconds since the epoch.
    """

    operation: str
    """GenAI operation name: chat, text_completion, embeddings …"""
    api_type: str | None = None
    provider: str = "azure.ai.openai"
    """GenAI provider name."""
    deployment: str | None = None
    api_version: str | None = None
    request: Request = field(default_factory=Request)
    members: str | None = None
    """JSON: the members of the request's body beside prompt and instructions. None without captured content."""
    reduced_members: str | None = None
    """The same without any text of the client's; None where `members` are there from the start."""
    caller: Mapping[str, str] = field(default_factory=dict)
    capture_content: bool = True
    id: str = field(default_factory=lambda: os.urandom(16).hex())

    arrived_ns: int = field(default_factory=time.monotonic_ns)
    started_at_ns: int = field(default_factory=time.time_ns)
    first_chunk_ns: int | None = None
    first_token_ns: int | None = None
    end_ns: int | None = None

    backend: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    http_status: int | None = None
    region: str | None = None
    apim_request_id: str | None = None
    client_request_id: str | None = None
    spilled_over: bool | None = None
    request_id: str | None = None
    served_by: str | None = None
    spilled_from: str | None = None
    """Deployments: which served the call, if not the one asked for, and which it was spilled over from."""
    rate_limit: dict[str, int] = field(default_factory=dict)
    """`remaining_requests` and `remaining_tokens`, as far as upstream says."""
    upstream_ms: int | None = None
    connection_id: str | None = None
    session_id: str | None = None
    """Of a WebSocket session: ours, one for all its calls; and the service's."""
    first_audio_ns: int | None = None
    audio_awaited_ns: int | None = None
    """When the speech ended that the sound answers; None: when the call arrived."""
    content_bytes: int | None = None
    """Of the whole generated text, where only a part of it is kept."""
    request_bytes: int = 0
    response_bytes: int = 0

    answer: Answer = field(default_factory=Answer)
    chunks: int = 0
    status: Status = Status.COMPLETED
    error_code: str | None = None
    error_message: str | None = None

    @property
    def model(self) -> str | None:
        """The model asked for: what the body names, else the deployment."""
        return self.request.model or self.deployment

    def fail(self, status: Status, code: str, message: str | None) -> None:
        """End with `status`, for the reason `code`; only the first failure counts."""
        if self.status is Status.COMPLETED:
            self.status, self.error_code, self.error_message = status, code, message

    def fail_as_told(self, code: str, message: str | None) -> None:
        """End with the first error that upstream reported within its response.

        What followed it, such as a disconnect or a cut, does not count.
        """
        if self.status in (Status.COMPLETED, Status.CLIENT_ABORTED, Status.UPSTREAM_CUT):
            self.status, self.error_code, self.error_message = Status.UPSTREAM_ERROR, code, message

    def abort(self) -> None:
        """End because the client disconnected, unless something failed before: that may be why it did."""
        if self.status is Status.COMPLETED:
            self.status = Status.CLIENT_ABORTED
