"""The columns of the table: what each holds, where in a record it comes from, and its type in every engine.

One list, from which the Arrow schema, the KQL schema, the tables of Azure Data Explorer and Spark and the list in
README.md are made. The table is flat: engines prune and aggregate typed columns, and Microsoft's parser sees a misspelt
one, which neither do inside JSON. Text that is unknown is '' rather than null, as in KQL, where a string is never null.
What may be long, or quotes what was said, comes last.
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
    """A list of words, joined by commas."""
    JSON = (pa.string(), "string", "STRING  ")
    """JSON text, to be opened with KQL's parse_json."""
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
    """One column; `paths` lead to its value in a record, the first that leads anywhere counts."""

    name: str
    kind: Kind
    meaning: str
    paths: tuple[Path, ...]
    absent: bool | None = None
    """What a flag is where a record does not say."""


def _of(name: str, kind: Kind, meaning: str, *paths: str, absent: bool | None = None) -> Column:
    return Column(name, kind, meaning, tuple(tuple(path.split(".")) for path in paths or (name,)), absent)


def _tokens(name: str, meaning: str, *details: str) -> Column:
    return _of(name, Kind.COUNT, meaning, *(f"usage.{path}" for path in details or (name,)))


def _details(name: str, meaning: str, kind: str, counted: str) -> Column:
    """Details keep upstream's names, which differ between chat completions and the Responses API."""
    names = {"prompt": ("prompt", "input"), "completion": ("completion", "output")}[kind]
    return _tokens(name, meaning, *(f"{side}_tokens_details.{counted}" for side in names))


_MOMENT, _TEXT, _COUNT, _FLAG = Kind.MOMENT, Kind.TEXT, Kind.COUNT, Kind.FLAG

COLUMNS: Final = (
    _of("timestamp", _MOMENT, "end of the call"),
    _of("started_at", _MOMENT, "arrival of the request; of the oldest records unknown"),
    _of("id", _TEXT, "unique to the call"),
    _of("trace_id", _TEXT, "its trace, the operation_Id of Application Insights"),
    _of("span_id", _TEXT, "its CLIENT span"),
    _of("type", _TEXT, "stream_completion or completion"),
    _of("schema_version", _COUNT, "of the record"),
    _of("operation", _TEXT, "chat, embeddings, …"),
    _of("model", _TEXT, "the model upstream named, else the deployment"),
    _of("deployment", _TEXT, "from the path, or the model a v1 body names"),
    _of("api_version", _TEXT, "as the client gave it"),
    _of("region", _TEXT, "x-ms-region, else unknown"),
    _of("backend", _TEXT, "the one that answered"),
    _of("attempts", _COUNT, "requests sent upstream"),
    _of("attempts_made", Kind.JSON, "[{backend, after_ms, http_status}] of each, where there were several"),
    _of("spilled_over", _FLAG, "another deployment took the call", absent=False),
    _of("stream", _FLAG, "the client asked for a stream", absent=False),
    _of("status", _TEXT, "completed, client_aborted, upstream_error, upstream_cut or interrupted"),
    _of("http_status", _COUNT, "upstream's; null without an answer"),
    _of("error_code", _TEXT, "why it failed", "error.code"),
    _of("finish_reasons", Kind.WORDS, "one a choice, joined by commas"),
    _of("latency_ms", _COUNT, "from the request's arrival to the last byte"),
    _of("time_to_first_chunk_ms", _COUNT, "streams: to the first bytes of the body, which is how long the call queued"),
    _of("time_to_first_token_ms", _COUNT, "streams: to the first text, reasoning or tool output"),
    _of("streaming_duration_ms", _COUNT, "streams: from the first bytes to the last"),
    _of("chunks", _COUNT, "streams: events"),
    _tokens("prompt_tokens", "null when unknown"),
    _tokens("completion_tokens", "null when unknown, or the operation generates none"),
    _tokens("total_tokens", "null when unknown"),
    _details("cached_tokens", "of the prompt tokens: read from upstream's cache", "prompt", "cached_tokens"),
    _details("audio_prompt_tokens", "of the prompt tokens: audio", "prompt", "audio_tokens"),
    _details("reasoning_tokens", "of the completion tokens: reasoning", "completion", "reasoning_tokens"),
    _details("audio_completion_tokens", "of the completion tokens: audio", "completion", "audio_tokens"),
    _of("usage_source", _TEXT, "reported, estimated or missing"),
    _of("subscription_id", _TEXT, "the caller's subscription", "caller.subscription_id"),
    _of("product", _TEXT, "the caller's product", "caller.product"),
    _of("user_id", _TEXT, "the caller's user", "caller.user_id"),
    _of("app_id", _TEXT, "the caller's application", "caller.app_id"),
    _of("object_id", _TEXT, "the caller's Entra ID object", "caller.object_id"),
    _of("session_id", _TEXT, "the caller's session", "caller.session_id"),
    _of("service_tier", _TEXT, "that upstream named"),
    _of("system_fingerprint", _TEXT, "that upstream named"),
    _of("response_id", _TEXT, "upstream's id of the answer"),
    _of("apim_request_id", _TEXT, "upstream's id of the request"),
    _of("client_request_id", _TEXT, "the client's id of the request"),
    _of("audio_id", _TEXT, "of spoken output"),
    _of("request_bytes", _COUNT, "of the client's body"),
    _of("response_bytes", _COUNT, "of upstream's body"),
    _of("content_captured", _FLAG, "false: the record holds no prompt and no answer", absent=True),
    _of("truncated", _FLAG, "texts were shortened, or the answer could not be read whole", absent=False),
    _of("content_bytes", _COUNT, "size of the whole record, where this is a part of it or a reference"),
    _of("content_ref", _TEXT, "URL of the blob with the whole record"),
    _of("content_filter", Kind.JSON, "verdicts on prompt and completion"),
    _of("error_message", _TEXT, "upstream's words, which may quote what was sent", "error.message"),
    _of("instructions", Kind.JSON, "sent beside the prompt"),
    _of("prompt", Kind.JSON, "messages, input or prompt as the client sent them"),
    _of("content", _TEXT, "the text of choice 0"),
    _of("refusal", _TEXT, "the model's"),
    _of("reasoning", _TEXT, "the model's, as far as it is told"),
    _of("tool_calls", Kind.JSON, "[{id, name, arguments}] of choice 0"),
    _of("choices", Kind.JSON, "all choices, where there are several"),
    _of(
        "more",
        Kind.JSON,
        "the fields, and members of `caller`, that no column takes; not those of `usage` and `error`",
        "*",
    ),
)
"""A table's columns, in their order. A new one is added where it belongs; none is ever renamed or changes its type."""

SCHEMA: Final = pa.schema([pa.field(column.name, column.kind.arrow) for column in COLUMNS])


def kql_schema() -> str:
    """The table as KQL declares it: `timestamp: datetime, …`."""
    return ", ".join(f"{column.name}: {column.kind.kql}" for column in COLUMNS)
