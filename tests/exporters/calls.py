"""Calls for tests of records: built by hand, or generated."""

import json
from typing import Any

from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from app.operations.json_text import dump
from exporters.record import Record
from otel.attributes import SCOPE
from otel.call import Answer, Call, Choice, Request, Status, ToolCall, Usage
from otel.provider import make_provider
from otel.span import CallSpan
from tests.kit.hub import checked
from tests.kit.spans import KeptSpans

MS = 1_000_000
START = 1_731_481_168_300_000_000  # 2024-11-13T06:59:28.3


SPANS = KeptSpans()
TRACER = make_provider([SPANS], ALWAYS_ON).get_tracer(SCOPE)


def line_of(call: Call) -> bytes:
    CallSpan(TRACER, call).finish()
    return Record.from_span(SPANS.ended[-1]).to_json()


def record_of(call: Call) -> dict[str, Any]:
    return checked(json.loads(line_of(call)))


def a_call(**more: Any) -> Call:
    return Call("chat", **{"arrived_ns": 0, "started_at_ns": START, "end_ns": 2_284_946_999, **more})


def asking(prompt: object, **more: Any) -> bytes:
    """The line of a call with that prompt."""
    return line_of(a_call(request=Request(prompt=dump(prompt)), **more))


TEXT = st.text(st.characters(), max_size=20)
COUNT = st.integers(0, 10**9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DETAILS = st.dictionaries(st.sampled_from(["prompt_tokens_details", "x_details"]), st.dictionaries(TEXT, COUNT))
CHOICE = st.builds(
    Choice, COUNT, TEXT, TEXT, TEXT, st.lists(st.builds(ToolCall, st.none() | TEXT, TEXT, TEXT)), st.none() | TEXT
)
ANSWER = st.builds(
    Answer,
    st.none() | TEXT,
    st.none() | TEXT,
    st.lists(CHOICE, max_size=3),
    st.none() | st.builds(Usage, COUNT, st.none() | COUNT, st.none() | COUNT, DETAILS),
    st.sampled_from(["reported", "estimated", "missing"]),
    st.dictionaries(st.sampled_from(["prompt", "completion"]), JSON),
    st.none() | TEXT,
)
CALLS = st.builds(
    a_call,
    request=st.builds(Request, st.none() | TEXT, st.booleans(), st.none() | JSON.map(dump), st.none() | JSON.map(dump)),
    caller=st.dictionaries(st.sampled_from(["user_id", "product"]), TEXT),
    answer=ANSWER,
    capture_content=st.booleans(),
    status=st.sampled_from([status for status in Status if status is not Status.REFUSED]),  # which has no record
    error_code=st.none() | TEXT,
    error_message=st.none() | TEXT,
    http_status=st.none() | st.integers(100, 599),
    region=st.none() | TEXT,
    first_chunk_ns=st.none() | st.integers(0, 10**9),
    first_token_ns=st.none() | st.integers(10**9, 10**10),
)
