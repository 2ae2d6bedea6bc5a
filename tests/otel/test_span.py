"""The span of a call: attribute names, events and times, and its place in the trace."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from otel.attributes import SCOPE
from otel.call import Answer, Attempt, Call, Choice, Request, Status, ToolCall, Usage
from otel.provider import make_provider
from otel.span import CallSpan
from tests.kit.hub import HubReader
from tests.kit.scripts import answering, streaming
from tests.kit.spans import KeptSpans
from tests.kit.wire import STREAM_WITH_USAGE, TEXT, client

START = 1_731_481_168_000_000_000
INCOMING = "00-{trace:032x}-00000000000000aa-{flags:02x}"


@pytest.fixture
def spans() -> KeptSpans:
    return KeptSpans()


@pytest.fixture
def opened(spans: KeptSpans) -> Callable[..., CallSpan]:
    tracer = make_provider([spans], ALWAYS_ON).get_tracer(SCOPE)
    return partial(CallSpan, tracer)


def a_stream() -> Call:
    return Call(
        "chat",
        api_type="chat_completions",
        deployment="chat-deployment",
        api_version="2024-10-21",
        request=Request(
            "gpt-asked",
            True,
            '["prompt"]',
            parameters={
                "gen_ai.request.max_tokens": 100,
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.stop_sequences": ("a", "b"),
                "openai.request.service_tier": "auto",
            },
        ),
        caller={"user_id": "user-7"},
        arrived_ns=1000,
        started_at_ns=START,
        first_chunk_ns=1000 + 250_000_000,
        first_token_ns=1000 + 300_000_000,
        end_ns=1000 + 900_000_000,
        backend="east",
        server_address="east.example",
        server_port=443,
        attempts=[Attempt("east", 2000, 200)],
        http_status=200,
        region="East US 2",
        answer=Answer(
            id="chatcmpl-1",
            model="gpt-named",
            choices=[Choice(0, "text", "", "", [ToolCall("1", "f", "{}")], "stop")],
            usage=Usage(
                12,
                7,
                19,
                {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}},
            ),
            usage_source="reported",
            service_tier="default",
            system_fingerprint="fp_1",
        ),
        chunks=11,
    )


def test_attributes_have_the_conventions_names(opened: Any, spans: KeptSpans) -> None:
    """Every GenAI, OpenAI and server attribute has the conventions' name; gen_ai.system is deprecated, but Azure
    Monitor derives a dependency's type from it."""
    call = a_stream()
    opened(call).finish()
    (span,) = spans.ended
    attributes = dict(span.attributes or {})
    assert {name: value for name, value in attributes.items() if not name.startswith("proxy.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.system": "azure.ai.openai",
        "gen_ai.request.model": "gpt-asked",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stop_sequences": ("a", "b"),
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-named",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "openai.api.type": "chat_completions",
        "openai.request.service_tier": "auto",
        "openai.response.service_tier": "default",
        "openai.response.system_fingerprint": "fp_1",
        "server.address": "east.example",
        "server.port": 443,
    }
    assert attributes["proxy.call.id"] == call.id
    assert (span.kind, span.name) == (SpanKind.CLIENT, "chat gpt-asked")
    assert span.status.status_code is StatusCode.UNSET


def test_the_sdk_would_keep_all_attributes_unchanged(opened: Any, spans: KeptSpans) -> None:
    """They are written past the SDK's validation, which would have changed none of them."""
    failed = Call(
        "chat", request=Request(parameters={"gen_ai.request.stop_sequences": ("a",)}), caller={"user_id": "7"}
    )
    failed.fail(Status.UPSTREAM_ERROR, "429", "said by upstream")
    several = a_stream()
    several.answer.choices = [
        Choice(0, "one", "no", "since", [], "stop", "audio-1"),
        Choice(1, "two", finish_reason="length"),
    ]
    several.answer.content_filter = {"prompt": {"hate": {"filtered": False}}}
    several.request = replace(several.request, instructions='"be kind"')
    for call in (failed, a_stream(), several):
        opened(call).finish()
    for span in spans.ended:
        attributes = dict(span.attributes or {})
        validated = dict(BoundedAttributes(attributes=attributes))
        assert attributes == validated
        assert [type(value) for value in attributes.values()] == [type(value) for value in validated.values()]
        assert None not in attributes.values()


def test_a_failed_call_has_error_type_and_status(opened: Any, spans: KeptSpans) -> None:
    """A failed call's span has error.type and status ERROR; a call without a model is named after its operation."""
    call = Call("call", api_type=None)
    call.fail(Status.UPSTREAM_ERROR, "429", "said by upstream")
    opened(call).finish()
    (span,) = spans.ended
    assert span.attributes["error.type"] == "429"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "429")
    assert span.name == "call"
    assert not any(name.startswith("gen_ai.usage") for name in span.attributes)


def test_events_of_a_stream_have_their_times(opened: Any, spans: KeptSpans) -> None:
    """First chunk, first token and end of stream have the call's own times; the span ends with the call."""
    opened(a_stream()).finish()
    (span,) = spans.ended
    assert [(event.name, event.timestamp - START) for event in span.events if event.name.startswith("gen_ai.")] == [
        ("gen_ai.first_chunk", 250_000_000),
        ("gen_ai.first_token", 300_000_000),
        ("gen_ai.end_of_stream", 900_000_000),
    ]
    assert (span.start_time, span.end_time) == (START, START + 900_000_000)


def test_a_span_has_only_events_that_happened(opened: Any, spans: KeptSpans) -> None:
    """A call that is not a stream has no stream events; a stream without chunks or tokens lacks theirs."""
    whole, silent, wordless = a_stream(), a_stream(), a_stream()
    whole.request = Request("gpt")
    silent.first_chunk_ns = silent.first_token_ns = wordless.first_token_ns = None
    for call in (whole, silent, wordless):
        opened(call).finish()
    names = [[event.name for event in span.events if event.name.startswith("gen_ai.")] for span in spans.ended]
    assert names == [[], [], ["gen_ai.first_chunk", "gen_ai.end_of_stream"]]
    assert "gen_ai.response.time_to_first_chunk" not in spans.ended[0].attributes


def test_a_token_found_after_the_end_is_dated_at_the_end(opened: Any, spans: KeptSpans) -> None:
    """The last bytes of a stream are parsed after its end was noted; no event is later than the end."""
    call = a_stream()
    call.first_token_ns = call.end_ns + 5_000_000
    opened(call).finish()
    (span,) = spans.ended
    assert span.attributes["proxy.time_to_first_token_ms"] == 900
    assert max(event.timestamp for event in span.events) == span.end_time


def test_a_span_ends_once(opened: Any, spans: KeptSpans, caplog: pytest.LogCaptureFixture) -> None:
    """A second finish does nothing, even if the call has changed; the SDK logs no warning."""
    call = a_stream()
    span = opened(call)
    span.finish()
    call.fail(Status.INTERRUPTED, "shutdown", "too late")
    span.finish()
    (ended,) = spans.ended
    assert ended.attributes["proxy.status"] == "completed"
    assert caplog.records == []


def test_known_facts_are_on_the_span_from_its_start(opened: Any, spans: KeptSpans) -> None:
    """Id, model, prompt and caller are there before the upstream request; the prompt only if content is on."""
    call, silent = a_stream(), a_stream()
    silent.capture_content = False
    opened(call)
    opened(silent)
    known, unknown = spans.at_start
    assert known["proxy.call.id"] == call.id
    assert known["proxy.prompt"] == '["prompt"]'
    assert known["proxy.caller.user_id"] == "user-7"
    assert known["gen_ai.request.model"] == "gpt-asked"
    assert "proxy.prompt" not in unknown


@pytest.mark.parametrize("released", [True, False])
def test_withheld_content_is_on_the_span_only_once_released(opened: Any, spans: KeptSpans, released: bool) -> None:
    """Content that has not been redacted yet is not on the span at its start, and at its end only if it was
    released."""
    call = a_stream()
    span = opened(call, withhold=True)
    span.withhold = not released
    span.finish()
    content = {"proxy.prompt", "proxy.answer", "proxy.answer.tool_calls"}
    assert not content & set(spans.at_start[0])
    assert content & set(spans.ended[0].attributes) == (content if released else set())


@pytest.mark.parametrize("flags", [1, 0])
def test_one_trace_from_client_to_upstream(upstream: Any, proxy: Any, hub: HubReader, flags: int) -> None:
    """One SERVER span is below the client's, and one CLIENT span below that. Upstream gets the CLIENT span's id and the
    client's sampled flag, and the client gets the trace id. The record exists whether the trace is sampled or not."""
    server = upstream(streaming(STREAM_WITH_USAGE))
    running = proxy(server.url)
    trace_id = f"{0x5A0 + flags:032x}"
    with client(running.url) as caller:
        answer = caller.chat(stream=True, traceparent=INCOMING.format(trace=0x5A0 + flags, flags=flags))
        answer.read()
    assert answer.header("x-trace-id") == trace_id
    record = hub.record(trace_id)
    spans = running.spans.of_trace(trace_id, 2)
    assert sorted(span.kind.name for span in spans) == ["CLIENT", "SERVER"]
    (call,) = [span for span in spans if span.kind is SpanKind.CLIENT]
    (request,) = [span for span in spans if span.kind is SpanKind.SERVER]
    assert request.parent.span_id == 0xAA
    assert call.parent.span_id == request.context.span_id
    assert server.seen[0].header("traceparent") == f"00-{trace_id}-{call.context.span_id:016x}-{flags:02x}"
    assert {span.context.trace_flags for span in spans} == {flags}
    assert record["span_id"] == f"{call.context.span_id:016x}"
    assert record["content"] == TEXT
    assert call.name == "chat chat-deployment"
    times = [event.timestamp for event in call.events if event.name.startswith("gen_ai.")]
    assert len(times) == 3
    assert [call.start_time, *times, call.end_time] == sorted([call.start_time, *times, call.end_time])
    assert request.start_time <= call.end_time <= request.end_time


def test_without_a_valid_traceparent_a_trace_starts_here(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Without a traceparent, or with an invalid one, the SERVER span is the root of a new trace."""
    server = upstream(answering)
    running = proxy(server.url)
    with client(running.url) as caller:
        for given in ("", "00-" + "0" * 32 + "-00000000000000aa-01", "nonsense"):
            answer = caller.chat(traceparent=given)
            answer.read()
            spans = running.spans.of_trace(answer.trace_id, 2)
            assert [span.parent is None for span in spans if span.kind is SpanKind.SERVER] == [True]
            assert hub.record(answer.trace_id)["span_id"] == server.seen[-1].header("traceparent").split("-")[2]


def test_attribute_limits_do_not_cut_a_record(
    upstream: Any, proxy: Any, hub: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Limits on attribute lengths and counts in the environment do not apply to records."""
    for name in ("VALUE_LENGTH_LIMIT", "COUNT_LIMIT"):
        monkeypatch.setenv(f"OTEL_ATTRIBUTE_{name}", "3")
        monkeypatch.setenv(f"OTEL_SPAN_ATTRIBUTE_{name}", "3")
    server = upstream(answering)
    with client(proxy(server.url).url) as caller:
        answer = caller.chat()
        answer.read()
    record = hub.record(answer.trace_id)
    assert record["content"] == TEXT
    assert record["prompt"][0]["content"].startswith("Tell me a joke")
    assert record["usage"]["total_tokens"] == 19
