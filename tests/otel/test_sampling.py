"""Sampling: how many traces are kept, how many each stands for, and that a trace is kept or dropped whole."""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel.attributes import SAMPLE_RATE
from otel.provider import make_provider
from otel.sampling import FixedShare, LimitedShare, Share, TraceSampler
from tests.conftest import StartProxy
from tests.kit.hub import HubReader
from tests.kit.ingestion import Ingestion
from tests.kit.spans import KeptSpans
from tests.kit.upstream import ScriptedUpstream
from tests.otel.conftest import ANSWER_MARK, PROMPT_MARK, StartMonitored, stream_calls, traceparent


class Clock:
    """Returns the time it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Load:
    """Starts traces at given times, and keeps the sampler's decisions."""

    def __init__(self, seed: int = 7) -> None:
        self.clock = Clock()
        self._random = random.Random(seed)
        self.share = LimitedShare(clock=self.clock, dice=self._random.random)
        self.kept: list[tuple[float, float]] = []
        """For each trace kept: the second, and how many traces it stands for."""

    def at(self, second: float) -> bool:
        self.clock.now = 1000.0 + second
        rate = self.share.of(self._random.getrandbits(128))
        if rate:
            self.kept.append((second, 100 / rate))
        return rate > 0

    def evenly(self, seconds: int, per_second: int, start: int = 0) -> int:
        for call in range(seconds * per_second):
            self.at(start + call / per_second)
        return seconds * per_second

    def per_second(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        for second, _ in self.kept:
            counts[int(second)] = counts.get(int(second), 0) + 1
        return counts

    @property
    def stood_for(self) -> float:
        return sum(weight for _, weight in self.kept)


@pytest.mark.parametrize("per_second", [1, 3, 5])
def test_a_quiet_proxy_keeps_every_trace(per_second: int) -> None:
    """Up to five traces per second are all kept, and each stands for itself."""
    load = Load()
    total = load.evenly(20, per_second)
    assert [weight for _, weight in load.kept] == [1.0] * total


@pytest.mark.parametrize("per_second", [6, 9, 40, 200, 1500])
def test_no_second_keeps_more_than_five(per_second: int) -> None:
    """No second of the clock keeps more than five traces, and under load not many fewer."""
    load = Load()
    load.evenly(60, per_second)
    counts = load.per_second()
    assert max(counts.values()) <= 5
    assert len(load.kept) > 60 * 2.5


@pytest.mark.parametrize("per_second", [6, 9, 40, 200])
def test_weights_add_up_to_the_calls(per_second: int) -> None:
    """The weights of the traces kept are whole numbers and add up to the number of calls."""
    totals = []
    for seed in range(12):
        load = Load(seed)
        calls = load.evenly(60, per_second)
        assert all(weight == pytest.approx(round(weight)) for _, weight in load.kept)
        totals.append(load.stood_for / calls)
    assert sum(totals) / len(totals) == pytest.approx(1.0, abs=0.05)


def test_weights_of_bursts_add_up_to_the_calls() -> None:
    """A hundred calls at the start of every third second, and none in between: the weights still add up."""
    totals = []
    for seed in range(30):
        load = Load(seed)
        for second in range(0, 90, 3):
            for call in range(100):
                load.at(second + call / 10_000)
        assert max(load.per_second().values()) <= 5
        totals.append(load.stood_for / 3000)
    assert sum(totals) / len(totals) == pytest.approx(1.0, abs=0.1)


def test_no_position_is_favoured() -> None:
    """Calls that alternate, and calls that always come late in their second, are counted as often as they were made."""
    odd = late = total = 0.0
    for seed in range(12):
        load = Load(seed)
        for call in range(60 * 100):
            if load.at(call / 100):
                weight = load.kept[-1][1]
                total += weight
                odd += weight * (call % 2)
                late += weight * (call % 100 >= 80)
    assert odd / total == pytest.approx(0.5, abs=0.05)
    assert late / total == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_a_fixed_share(ratio: float) -> None:
    """The share PROXY_TRACE_RATIO of the traces is kept, by the bits of their ids, and stands for all."""
    share, bits = FixedShare(ratio), random.Random(3)
    rates = [share.of(bits.getrandbits(128)) for _ in range(20_000)]
    kept = [rate for rate in rates if rate]
    assert len(kept) / len(rates) == pytest.approx(ratio, abs=0.01)
    assert set(kept) <= {100 * ratio}


class Never:
    def of(self, trace_id: int) -> float:
        return 0.0


class Tenth:
    def of(self, trace_id: int) -> float:
        return 10.0


def provider_of(share: Share) -> tuple[TracerProvider, list[ReadableSpan]]:
    spans = KeptSpans()
    return make_provider([spans], TraceSampler(share)), spans.ended


def remote(flags: int, state: TraceState | None = None) -> Any:
    context = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(flags), trace_state=state)
    return set_span_in_context(NonRecordingSpan(context))


@pytest.mark.parametrize(("share", "kept"), [(Tenth(), True), (Never(), False)])
def test_a_trace_is_kept_or_dropped_whole(share: Share, kept: bool) -> None:
    """The decision on the first span holds for all below it, and they all state the same rate."""
    provider, ended = provider_of(share)
    tracer = provider.get_tracer("test")
    with (
        tracer.start_as_current_span("request"),
        tracer.start_as_current_span("call", attributes={"of": "call"}),
        tracer.start_as_current_span("deeper"),
    ):
        pass
    assert {span.context.trace_flags.sampled for span in ended} == {kept}
    if kept:
        assert {(span.attributes or {})[SAMPLE_RATE] for span in ended} == {10.0}
    assert (ended[1].attributes or {})["of"] == "call"


@pytest.mark.parametrize(("share", "flag"), [(Never(), 1), (Tenth(), 0), (Tenth(), 1), (Never(), 0)])
def test_the_callers_sampled_flag_decides(share: Share, flag: int) -> None:
    """An incoming sampled flag overrides our share, without a rate, and the caller's tracestate is kept."""
    provider, ended = provider_of(share)
    tracer = provider.get_tracer("test")
    state = TraceState([("vendor", "1")])
    with tracer.start_as_current_span("request", context=remote(flag, state)):
        tracer.start_span("call").end()
    for span in ended:
        assert span.context.trace_flags.sampled == bool(flag)
        assert SAMPLE_RATE not in (span.attributes or {})
        assert span.context.trace_state == state


@pytest.fixture(scope="module")
def sampling(monitored: StartMonitored) -> Iterator[Callable[..., tuple[Ingestion, str]]]:
    """Start a proxy with these settings and its own ingestion endpoint."""
    ingestions: list[Ingestion] = []

    def start(**more: str) -> tuple[Ingestion, str]:
        ingestion = Ingestion()
        ingestions.append(ingestion)
        return ingestion, monitored(APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str, **more).url

    yield start
    for ingestion in ingestions:
        ingestion.close()


def rates_sent(ingestion: Ingestion, url: str) -> dict[str, list[float | None]]:
    """The rates on the envelopes of each trace, once everything up to now was sent."""
    last = f"{999:032x}"
    stream_calls(url, 1, **traceparent(999))
    ingestion.trace(last)
    rates: dict[str, list[float | None]] = {}
    for envelope in ingestion.envelopes("RequestData", "RemoteDependencyData", "MessageData"):
        if envelope.trace_id not in (None, last, "0" * 32):
            rates.setdefault(str(envelope.trace_id), []).append(envelope.sample_rate)
    return rates


def test_five_traces_per_second_are_sent_by_default(sampling: Callable[..., tuple[Ingestion, str]]) -> None:
    """By default at most five traces per second that start here are sent, each whole and with one rate on the request,
    the dependency and every event."""
    ingestion, url = sampling()
    began = time.monotonic()
    traces = stream_calls(url, 60)
    seconds = time.monotonic() - began
    rates = rates_sent(ingestion, url)
    assert 1 <= len(rates) <= 5 * (seconds + 2)  # the calls began and ended within a second of the sampler's
    for envelopes in rates.values():
        assert len(envelopes) == 6
        assert len(set(envelopes)) == 1
        assert envelopes[0]
        assert 100 / envelopes[0] == pytest.approx(round(100 / envelopes[0]))
    by_second: dict[int, int] = {}
    for request in (one for one in ingestion.envelopes("RequestData") if one.trace_id in traces):
        by_second[int(request.at.timestamp())] = by_second.get(int(request.at.timestamp()), 0) + 1
    assert max(by_second.values()) <= 10  # two of the sampler's seconds may share one of the clock's


def test_a_fixed_share_is_sent(sampling: Callable[..., tuple[Ingestion, str]]) -> None:
    """PROXY_TRACE_RATIO=0.25 sends about a quarter of the traces, whole and with that rate."""
    ingestion, url = sampling(PROXY_TRACE_RATIO="0.25")
    stream_calls(url, 120)
    rates = rates_sent(ingestion, url)
    assert 4 <= len(rates) <= 62  # fails in one run of 10**9
    assert {rate for envelopes in rates.values() for rate in envelopes} == {25.0}
    assert {len(envelopes) for envelopes in rates.values()} == {6}


@pytest.mark.parametrize(("ratio", "flag"), [("0", None), ("0.1", None), ("1", "00"), ("0", "01")])
def test_every_call_has_a_record_sampled_or_not(
    proxy: StartProxy, azure_openai: ScriptedUpstream, hub: HubReader, ratio: str, flag: str | None
) -> None:
    """Whatever the sampling decision, the record of each call arrives at the hub, with its content."""
    running = proxy(azure_openai.url, PROXY_TRACE_RATIO=ratio)
    parents = [f"00-{random.getrandbits(128):032x}-{number:016x}-{flag}" for number in range(1, 11)]
    traces = [stream_calls(running.url, 1, traceparent=parent if flag else "")[0] for parent in parents]
    for trace_id in traces:
        record = hub.record(trace_id)
        assert PROMPT_MARK in json.dumps(record["prompt"])
        assert ANSWER_MARK in record["content"]
        request, call = running.spans.of_trace(trace_id, 2)
        assert request.context.trace_flags.sampled == call.context.trace_flags.sampled
        if flag or ratio == "0":
            assert call.context.trace_flags.sampled == (flag == "01")
