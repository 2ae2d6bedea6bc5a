"""The columns of the table: the meaning of each, its source in a record, and its type in every engine.

This list generates the Arrow and KQL schemas, the tables of Azure Data Explorer and Spark, and the list in README.md.
The table is flat: engines prune and aggregate typed columns, and Microsoft's parser reports a misspelt one; neither
works inside JSON. Unknown text is '' rather than null, as in KQL, where a string is never null. Columns that may be
long, or that quote prompts and completions, come last.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import pyarrow as pa

type Path = tuple[str, ...]


class Kind(Enum):
    """A column's type: in Arrow, in KQL, in Spark."""

    MOMENT = (pa.timestamp("us", "UTC"), "datetime", "TIMESTAMP")
    TEXT = (pa.string(), "string", "STRING")
    WORDS = (pa.string(), "string", "STRING ")
    """A list of strings, joined by commas."""
    JSON = (pa.string(), "string", "STRING  ")
    """JSON text, for KQL's parse_json."""
    COUNT = (pa.int64(), "long", "BIGINT")
    FLAG = (pa.bool_(), "bool", "BOOLEAN")

    @property
    def arrow(self) -> pa.DataType:
        return self.value[0]

    @property
    def kql(self) -> str:
        return self.value[1]

    @property
    def spark(self) -> str:
        return self.value[2].strip()


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `paths` locate its value in a record; the first that exists counts."""

    name: str
    kind: Kind
    meaning: str
    paths: tuple[Path, ...]
    absent: bool | None = None
    """The value of a flag that a record lacks."""


def _of(name: str, kind: Kind, meaning: str, *paths: str, absent: bool | None = None) -> Column:
    return Column(name, kind, meaning, tuple(tuple(path.split(".")) for path in paths or (name,)), absent)


def _tokens(name: str, meaning: str, *details: str) -> Column:
    return _of(name, Kind.COUNT, meaning, *(f"usage.{path}" for path in details or (name,)))


def _details(name: str, meaning: str, kind: str, counted: str) -> Column:
    """Details keep upstream's names, which differ between chat completions, the Responses API and Realtime."""
    chat, other = {"prompt": ("prompt", "input"), "completion": ("completion", "output")}[kind]
    details = (f"{chat}_tokens_details", f"{other}_tokens_details", f"{other}_token_details")  # the last: sessions
    return _tokens(name, meaning, *(f"{path}.{counted}" for path in details))


_MOMENT, _TEXT, _COUNT, _FLAG = Kind.MOMENT, Kind.TEXT, Kind.COUNT, Kind.FLAG

COLUMNS: Final = (
    _of("timestamp", _MOMENT, "end of the call"),
    _of("started_at", _MOMENT, "arrival of the request; unknown in the oldest records"),
    _of("id", _TEXT, "unique to the call"),
    _of("trace_id", _TEXT, "the call's trace, operation_Id in Application Insights"),
    _of("span_id", _TEXT, "the call's CLIENT span"),
    _of("type", _TEXT, "stream_completion or completion"),
    _of("schema_version", _COUNT, "version of the record"),
    _of("operation", _TEXT, "chat, embeddings, …"),
    _of("model", _TEXT, "the model in upstream's response, else the deployment"),
    _of("deployment", _TEXT, "from the path, or the model in a v1 body"),
    _of("api_version", _TEXT, "as the client sent it"),
    _of("region", _TEXT, "x-ms-region, else unknown"),
    _of("backend", _TEXT, "the backend that responded"),
    _of("attempts", _COUNT, "requests sent upstream"),
    _of("attempts_made", Kind.JSON, "[{backend, after_ms, http_status}] of each attempt, if there were several"),
    _of("spilled_over", _FLAG, "another deployment served the call", absent=False),
    _of("stream", _FLAG, "the client requested a stream", absent=False),
    _of("status", _TEXT, "completed, client_aborted, upstream_error, upstream_cut or interrupted"),
    _of("http_status", _COUNT, "upstream's; null without a response"),
    _of("error_code", _TEXT, "why the call failed", "error.code"),
    _of("finish_reasons", Kind.WORDS, "one per choice, joined by commas"),
    _of("latency_ms", _COUNT, "from the request's arrival to the last byte"),
    _of("time_to_first_chunk_ms", _COUNT, "streams: to the first bytes of the body, the time the call queued"),
    _of("time_to_first_token_ms", _COUNT, "streams: to the first text, reasoning or tool output"),
    _of("streaming_duration_ms", _COUNT, "streams: from the first bytes to the last"),
    _of("chunks", _COUNT, "streams: number of events"),
    _tokens("prompt_tokens", "null when unknown"),
    _tokens("completion_tokens", "null when unknown or when the operation generates none"),
    _tokens("total_tokens", "null when unknown"),
    _details("cached_tokens", "prompt tokens read from upstream's cache", "prompt", "cached_tokens"),
    _details("cache_write_tokens", "prompt tokens written to upstream's cache", "prompt", "cache_write_tokens"),
    _details("cache_write_1h_tokens", "those of them kept for an hour", "prompt", "cache_write_1h_tokens"),
    _details("audio_prompt_tokens", "audio tokens in the prompt", "prompt", "audio_tokens"),
    _details("image_prompt_tokens", "image tokens in the prompt", "prompt", "image_tokens"),
    _details("cached_audio_tokens", "audio tokens read from the cache", "prompt", "cached_audio_tokens"),
    _details("cached_image_tokens", "image tokens read from the cache", "prompt", "cached_image_tokens"),
    _details("reasoning_tokens", "reasoning tokens in the completion", "completion", "reasoning_tokens"),
    _details("audio_completion_tokens", "audio tokens in the completion", "completion", "audio_tokens"),
    _details("image_completion_tokens", "image tokens in the completion", "completion", "image_tokens"),
    _of("usage_source", _TEXT, "reported, estimated, pending (a background response that has not ended) or missing"),
    _of("subscription_id", _TEXT, "the caller's subscription", "caller.subscription_id"),
    _of("product", _TEXT, "the caller's product", "caller.product"),
    _of("user_id", _TEXT, "the caller's user", "caller.user_id"),
    _of("app_id", _TEXT, "the caller's application", "caller.app_id"),
    _of("object_id", _TEXT, "the caller's Entra ID object", "caller.object_id"),
    _of("session_id", _TEXT, "the caller's session", "caller.session_id"),
    _of("service_tier", _TEXT, "as upstream reported it"),
    _of("system_fingerprint", _TEXT, "as upstream reported it"),
    _of("response_id", _TEXT, "upstream's id of the response"),
    _of("response_status", _TEXT, "a response's own status: queued, in_progress, completed, …"),
    _of("previous_response_id", _TEXT, "the response that the request continues"),
    _of("conversation_id", _TEXT, "the conversation that the request continues"),
    _of("served_by", _TEXT, "the deployment that served the call, if not the one asked for"),
    _of("spilled_from", _TEXT, "the deployment that the call was spilled over from"),
    _of("upstream_ms", _COUNT, "upstream's own processing time"),
    _of("remaining_requests", _COUNT, "left of upstream's request limit", "rate_limit.remaining_requests"),
    _of("remaining_tokens", _COUNT, "left of upstream's token limit", "rate_limit.remaining_tokens"),
    _of("connection_id", _TEXT, "of a WebSocket session, one for all its calls"),
    _of("session_id_upstream", _TEXT, "the service's id of a Realtime session"),
    _of("time_to_first_audio_ms", _COUNT, "Realtime: from the end of the speech, or the request, to the first sound"),
    _of("units", Kind.JSON, "what is billed and is no token: audio_seconds, characters, images, web_search_calls, …"),
    _of("output_size", _TEXT, "size that was asked of an image or a video: 1024x1024", "request.size"),
    _of("output_quality", _TEXT, "quality that was asked of an image: hd", "request.quality"),
    _of("hosted_calls", Kind.JSON, "[{type, id, status}] of tools that the service ran by itself"),
    _of("request_id", _TEXT, "upstream's x-request-id"),
    _of("apim_request_id", _TEXT, "upstream's id of the request"),
    _of("client_request_id", _TEXT, "the client's id of the request"),
    _of("audio_id", _TEXT, "id of audio output"),
    _of("request_bytes", _COUNT, "size of the client's body"),
    _of("response_bytes", _COUNT, "size of upstream's body"),
    _of("content_captured", _FLAG, "false: the record holds neither prompt nor completion", absent=True),
    _of("truncated", _FLAG, "texts were shortened, or the response could not be read in full", absent=False),
    _of("content_bytes", _COUNT, "size of the whole record, if this is a part of it or a reference"),
    _of("content_ref", _TEXT, "URL of the blob with the whole record"),
    _of("content_filter", Kind.JSON, "verdicts on prompt and completion"),
    _of("error_message", _TEXT, "upstream's message, which may quote the request", "error.message"),
    _of("instructions", Kind.JSON, "instructions sent with the prompt"),
    _of("request", Kind.JSON, "the other members of the request's body: tools, parameters, metadata, …"),
    _of("prompt", Kind.JSON, "messages, input or prompt as the client sent them"),
    _of("content", _TEXT, "the text of choice 0"),
    _of("refusal", _TEXT, "the model's refusal"),
    _of("reasoning", _TEXT, "the model's reasoning, as far as upstream returns it"),
    _of("tool_calls", Kind.JSON, "[{id, name, arguments}] of choice 0"),
    _of("choices", Kind.JSON, "all choices, if there are several"),
    _of(
        "more",
        Kind.JSON,
        "fields and members of `caller` without a column; not those of `usage` and `error`",
        "*",
    ),
)
"""The table's columns, in order. Add a new one where it belongs; never rename one or change its type."""

SCHEMA: Final = pa.schema([pa.field(column.name, column.kind.arrow) for column in COLUMNS])


def kql_schema() -> str:
    """The table as KQL declares it: `timestamp: datetime, …`."""
    return ", ".join(f"{column.name}: {column.kind.kql}" for column in COLUMNS)
