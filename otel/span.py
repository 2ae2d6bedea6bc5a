"""CallSpan: the CLIENT span of one call, started before the upstream request and ended exactly once."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

import orjson
from opentelemetry.context import Context, create_key, set_value
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from otel import attributes as a
from otel.call import FETCH, Answer, Call, Choice, Usage
from otel.writing import SpanWriter

NS_PER_MS = 1_000_000
_KNOWN: Final = create_key("known")


class _Start:
    """Carries the facts known at the start to `KnownAtStart`, in the span's context; `KnownAtStart` sets `writer`."""

    __slots__ = ("facts", "writer")

    def __init__(self, facts: Mapping[str, AttributeValue]) -> None:
        self.facts = facts
        self.writer: SpanWriter | None = None


class CallSpan:
    """The span of a call to upstream.

    `finish()` may be called on several exit paths of a call; only the first call has an effect. What identifies the
    call is on the span from its start, for the journal and for samplers; everything else is written once, at the end.
    """

    def __init__(self, tracer: Tracer, call: Call, withhold: bool = False) -> None:
        """Start the span as a child of the current one, which is the request's SERVER span.

        With `withhold` it holds no content until `finish`, and then only if `withhold` has been reset to False.
        """
        self.call = call
        self.withhold = self._withheld = withhold
        self._named, self._asked = call.model, call.request
        name = f"{call.operation} {call.model}" if call.model else call.operation
        start = _Start(_known_at_start(call, withhold))
        context = set_value(_KNOWN, start)
        self._span: Span = tracer.start_span(name, context, SpanKind.CLIENT, start_time=call.started_at_ns)
        self._writer = start.writer or SpanWriter()
        if start.writer is None:  # another provider's span
            self._writer.put(self._span, start.facts)
        self._finished = False
        self.trace_id = f"{self._span.get_span_context().trace_id:032x}"
        """32 hex digits: W3C trace-id."""

    def propagation_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that carry this span to upstream: `traceparent`, and `tracestate` if there is one (W3C)."""
        context = self._span.get_span_context()
        parent = f"00-{self.trace_id}-{context.span_id:016x}-{context.trace_flags:02x}"
        headers = [(b"traceparent", parent.encode())]
        if context.trace_state:
            headers.append((b"tracestate", context.trace_state.to_header().encode()))
        return headers

    def finish(self) -> None:
        """Set the facts on the span and end it."""
        if self._finished:
            return
        self._finished = True
        call = self.call
        if call.end_ns is None:
            call.end_ns = time.monotonic_ns()
        if call.first_token_ns is not None:  # seen when the last bytes were parsed, which is after the end
            call.first_token_ns = min(call.first_token_ns, call.end_ns)
        span = self._span
        if call.model != self._named:
            span.update_name(f"{call.operation} {call.model}")
        facts = _facts(call)
        if call.capture_content and not self.withhold:
            if self._withheld or call.request is not self._asked:  # a form was read while it passed
                facts |= _request_content(call)
            facts |= _response_content(call)
        self._writer.put(span, facts)
        if call.error_code is not None:
            span.set_status(StatusCode.ERROR, call.error_code)
        self._add_events()
        span.end(_wall(call, call.end_ns))

    def _add_events(self) -> None:
        call, note = self.call, self._writer.note
        for attempt in call.attempts:
            facts: dict[str, AttributeValue] = {a.BACKEND: attempt.backend}
            if attempt.http_status is not None:
                facts[a.HTTP_STATUS] = attempt.http_status
            note(self._span, a.ATTEMPT, facts, _wall(call, attempt.at_ns))
        if not call.request.stream:
            return
        for name, at in ((a.FIRST_CHUNK, call.first_chunk_ns), (a.FIRST_TOKEN, call.first_token_ns)):
            if at is not None:
                note(self._span, name, {}, _wall(call, at))
        if call.first_chunk_ns is not None and call.end_ns is not None:
            chunks: Mapping[str, AttributeValue] = {a.CHUNKS: call.chunks, a.STATUS: call.status.value}
            note(self._span, a.END_OF_STREAM, chunks, _wall(call, call.end_ns))


class KnownAtStart(SpanProcessor):
    """Writes to a call's span what is known at its start; must come before every processor that reads it."""

    def __init__(self, writer: SpanWriter) -> None:
        """`writer` must fit the spans of the provider that this processor is added to."""
        self._writer = writer

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Take the facts from the context that the span was started in."""
        start = parent_context and parent_context.get(_KNOWN)
        if isinstance(start, _Start):
            self._writer.put(span, start.facts)
            start.writer = self._writer


def _wall(call: Call, monotonic_ns: int) -> int:
    """A monotonic time of the call as nanoseconds since the epoch; durations stay monotonic."""
    return call.started_at_ns + monotonic_ns - call.arrived_ns


def _known_at_start(call: Call, withhold: bool) -> dict[str, AttributeValue]:
    """What is known of a call before the upstream request."""
    request = call.request
    facts: dict[str, AttributeValue | None] = {
        a.CALL_ID: call.id,
        a.OPERATION_NAME: call.operation,
        a.PROVIDER_NAME: call.provider,
        a.REQUEST_MODEL: call.model,
        a.REQUEST_STREAM: request.stream,
        a.DEPLOYMENT: call.deployment,
        a.API_VERSION: call.api_version,
        a.CONTENT_CAPTURED: False,
        a.MEMBERS: call.reduced_members,
        **(_request_content(call) if call.capture_content and not withhold else {}),
    }
    for name, value in call.caller.items():
        facts[a.CALLER + name] = value
    return a.known(facts)


def _request_content(call: Call) -> dict[str, AttributeValue]:
    """Content that the client sent."""
    request = call.request
    content: dict[str, AttributeValue] = {a.CONTENT_CAPTURED: True}
    if request.prompt is not None:
        content[a.PROMPT] = request.prompt
    if request.instructions is not None:
        content[a.INSTRUCTIONS] = request.instructions
    if call.members is not None:
        content[a.MEMBERS] = call.members
    return content


def _facts(call: Call) -> dict[str, AttributeValue]:
    """What is known of a call at its end, without content."""
    request, answer, usage = call.request, call.answer, call.answer.usage
    facts: dict[str, AttributeValue | None] = {
        **request.parameters,
        a.REQUEST_STOP_SEQUENCES: None,  # content
        a.SYSTEM: call.provider,  # deprecated, but Azure Monitor derives the dependency's type from it
        a.API_TYPE: call.api_type,
        a.REQUEST_MODEL: call.model,  # of a form, which is read while it passes, these three are known only now
        a.REQUEST_STREAM: request.stream,
        a.DEPLOYMENT: call.deployment,
        a.RESPONSE_ID: answer.id,
        a.RESPONSE_MODEL: answer.model,
        a.RESPONSE_FINISH_REASONS: tuple([c.finish_reason for c in answer.choices if c.finish_reason]) or None,
        a.RESPONSE_SERVICE_TIER: answer.service_tier,
        a.RESPONSE_SYSTEM_FINGERPRINT: answer.system_fingerprint,
        a.SERVER_ADDRESS: call.server_address,
        a.SERVER_PORT: call.server_port,
        a.STATUS: call.status.value,
        a.REGION: call.region,
        a.BACKEND: call.backend,
        a.ATTEMPTS: len(call.attempts),
        a.HTTP_STATUS: call.http_status,
        a.SPILLED_OVER: call.spilled_over,
        a.REQUEST_ID: call.request_id,
        a.SERVED_BY: call.served_by,
        a.SPILLED_FROM: call.spilled_from,
        a.UPSTREAM_MS: call.upstream_ms,
        a.RATE_LIMIT: _json(call.rate_limit) if call.rate_limit else None,
        a.PREVIOUS_RESPONSE_ID: request.previous_response_id,
        a.CONVERSATION_ID: request.conversation_id,
        a.RESPONSE_STATUS: answer.status,
        a.HOSTED_CALLS: _json(answer.hosted_calls) if answer.hosted_calls else None,
        a.UNITS: _json(answer.units) if answer.units else None,
        a.APIM_REQUEST_ID: call.apim_request_id,
        a.CLIENT_REQUEST_ID: call.client_request_id,
        a.CONNECTION_ID: call.connection_id,
        a.SESSION_ID: call.session_id,
        a.TIME_TO_FIRST_AUDIO_MS: _audio_ms(call),
        a.ERROR_CODE: call.error_code,
        a.ERROR_TYPE: call.error_code,
        a.REQUEST_BYTES: call.request_bytes if call.connection_id is None else None,
        a.RESPONSE_BYTES: call.response_bytes if call.connection_id is None else None,
        a.LATENCY_MS: _elapsed_ms(call, call.end_ns),
        a.USAGE_SOURCE: answer.usage_source,
        a.AUDIO_ID: next((c.audio_id for c in answer.choices if c.audio_id), None),
        a.TRUNCATED: answer.truncated or None,
        a.CONTENT_BYTES: call.content_bytes,
        a.CONTENT_FILTER: _json(answer.content_filter) if answer.content_filter else None,
    }
    if request.stream:
        facts[a.CHUNKS] = call.chunks
        facts[a.TIME_TO_FIRST_CHUNK_MS] = _elapsed_ms(call, call.first_chunk_ns)
        facts[a.TIME_TO_FIRST_TOKEN_MS] = _elapsed_ms(call, call.first_token_ns)
        if call.first_chunk_ns is not None:
            facts[a.RESPONSE_TIME_TO_FIRST_CHUNK] = (call.first_chunk_ns - call.arrived_ns) / 1e9
    if usage is not None and call.operation == FETCH:
        facts[a.FETCHED_USAGE], facts[a.FETCHED_BACKGROUND] = _usage_json(usage), answer.background
    elif usage is not None:
        facts[a.INPUT_TOKENS] = usage.prompt_tokens
        facts[a.OUTPUT_TOKENS] = usage.completion_tokens
        facts[a.CACHED_TOKENS] = usage.detail("cached_tokens")
        facts[a.REASONING_TOKENS] = usage.detail("reasoning_tokens")
        facts[a.USAGE] = _usage_json(usage)
    return a.known(facts)


def _response_content(call: Call) -> dict[str, AttributeValue]:
    """Content of the response, and the stop sequences."""
    content: dict[str, AttributeValue] = {}
    if stops := call.request.parameters.get(a.REQUEST_STOP_SEQUENCES):
        content[a.REQUEST_STOP_SEQUENCES] = stops
    if call.error_message is not None:
        content[a.ERROR_MESSAGE] = call.error_message
    answer: Answer = call.answer
    first = next((choice for choice in answer.choices if choice.index == 0), None)
    if first is not None:
        content[a.ANSWER] = first.content
        if first.tool_calls:
            content[a.TOOL_CALLS] = _json(first.tool_calls)
        if first.refusal:
            content[a.REFUSAL] = first.refusal
        if first.reasoning:
            content[a.REASONING] = first.reasoning
    if len(answer.choices) > 1:
        content[a.CHOICES] = _json([_choice(choice) for choice in answer.choices])
    return content


def _choice(choice: Choice) -> dict[str, object]:
    shown: dict[str, object] = {
        "index": choice.index,
        "content": choice.content,
        "finish_reason": choice.finish_reason,
    }
    if choice.tool_calls:
        shown["tool_calls"] = choice.tool_calls
    return shown


def _usage_json(usage: Usage) -> str:
    counts = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    given = {name: count for name, count in counts.items() if count is not None}
    return _json({**given, **usage.details})


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a lone surrogate: JSON can escape it, but orjson does not
        return json.dumps(value, default=asdict, separators=(",", ":"))


def _audio_ms(call: Call) -> int | None:
    if call.first_audio_ns is None:
        return None
    return max(0, call.first_audio_ns - (call.audio_awaited_ns or call.arrived_ns)) // NS_PER_MS


def _elapsed_ms(call: Call, at_ns: int | None) -> int | None:
    return None if at_ns is None else (at_ns - call.arrived_ns) // NS_PER_MS
