"""Any JSON for any operation: it raises nothing, and its facts have the right types."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from app.operations.openai import OPENAI
from exporters.record import Record
from otel.call import Answer, Call, Request
from otel.span import CallSpan
from tests.app.operations.shapes import JSON, SSE, operation, read
from tests.kit.hub import SCHEMA

SUFFIXES = [*OPENAI.operations, "files"]
KEYS = """
id model choices index delta message content refusal reasoning_content tool_calls function_call custom audio transcript
function name arguments input usage finish_reason prompt_tokens input_tokens output_tokens total_tokens response error
output_tokens_details prompt_filter_results content_filter_results content_filters source_type filtered messages prompt
instructions stream stream_format encoding_format dimensions text format temperature n type status code hate call_id
max_tokens seed stop incomplete_details reason output output_index summary_index item summary data revised_prompt
innererror service_tier
"""
TYPES = """
message reasoning function_call custom_tool_call output_text error completed incomplete failed tokens prompt completion
response.created response.completed response.failed response.output_item.added response.output_item.done
response.output_text.delta response.reasoning_summary_text.delta response.function_call_arguments.delta
image_generation.completed transcript.text.delta transcript.text.segment transcript.text.done speech.audio.done
"""
NAMES = st.sampled_from(KEYS.split())
KINDS = st.sampled_from(TYPES.split())


def within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4)


# what the proxy's parser returns: no infinity, but integers of any size and lone surrogates
NUMBERS = st.integers() | st.just(2**70) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=4) | st.just("\ud800") | KINDS
ANYTHING = st.recursive(SCALARS, within, max_leaves=16)
OBJECTS = st.dictionaries(NAMES, ANYTHING, max_size=6)
CHOICES = st.lists(ANYTHING | st.dictionaries(NAMES, OBJECTS | ANYTHING, max_size=4), max_size=2)
BODIES = (
    OBJECTS
    | st.builds(lambda body, kind: {**body, "type": kind}, OBJECTS, KINDS)
    | st.builds(lambda body, choices: {**body, "choices": choices}, OBJECTS, CHOICES)
)
EXAMPLES = settings(deadline=None, max_examples=50)


class Ended(SpanProcessor):
    """Keeps the last span that ended."""

    span: ReadableSpan

    def on_end(self, span: ReadableSpan) -> None:
        self.span = span


@pytest.fixture(scope="module")
def record_of() -> Callable[[str, Request, Answer], dict[str, Any]]:
    """Makes the record of a call with these facts, by way of its span."""
    ended, provider = Ended(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ended)
    tracer = provider.get_tracer("test")

    def make(suffix: str, request: Request, answer: Answer) -> dict[str, Any]:
        call = Call(operation=operation(suffix).name, request=request, deployment=request.model, answer=answer)
        CallSpan(tracer, call).finish()
        record: dict[str, Any] = json.loads(Record.from_span(ended.span).to_json())
        return record

    return make


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(body=BODIES)
@example(body={"stop": ["x"], "encoding_format": "base64"})
@example(body={"input": {"id": 2**70, "model": "\ud800"}, "messages": [2**70], "prompt": 2**70})
def test_no_request_fails(suffix: str, body: dict[str, Any]) -> None:
    """For any request, the facts have types that a span accepts."""
    request = operation(suffix).read_request(body)
    assert isinstance(request.stream, bool)
    assert all(isinstance(text, str | None) for text in (request.model, request.prompt, request.instructions))
    assert all(isinstance(value, str | int | float | tuple) for value in request.parameters.values())


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(body=BODIES)
def test_any_whole_answer_can_be_recorded(record_of: Any, suffix: str, body: dict[str, Any]) -> None:
    """Any whole answer gives a valid record."""
    found, answer = operation(suffix), Answer()
    found.error_of(body)
    found.read_answer(body, answer)
    SCHEMA.validate(record_of(suffix, Request(model="m"), answer))


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(events=st.lists(BODIES, max_size=5))
def test_any_stream_can_be_recorded(record_of: Any, suffix: str, events: list[dict[str, Any]]) -> None:
    """Any events give a valid record."""
    found, answer = operation(suffix), Answer()
    reader = found.stream()
    for one in events:
        found.error_of(one)
        assert reader.event(one) in (True, False)
    assert reader.finish(answer) in (True, False)
    SCHEMA.validate(record_of(suffix, Request(model="m", stream=True), answer))


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(bodies=st.lists(BODIES, max_size=4), size=st.integers(1, 200), status=st.sampled_from([200, 400]))
def test_any_bytes_can_be_read(suffix: str, bodies: list[dict[str, Any]], size: int, status: int) -> None:
    """The same by way of the bytes, as JSON and as events, in chunks of any size."""
    texts = [json.dumps(body).encode() for body in bodies]
    stream = b"".join(b"data: %b\n\n" % text for text in texts)
    for whole, content_type in (b"".join(texts[:1]), JSON), (stream, SSE):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        call = read(suffix, pieces, content_type, status)
        assert call.response_bytes == len(whole)
        assert isinstance(call.error_code, str | None)
        assert isinstance(call.error_message, str | None)
