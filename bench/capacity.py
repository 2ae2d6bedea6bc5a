"""Capacity: what a rate of calls needs, computed from the measured figures and the published quotas.

Quotas, from Microsoft's documentation in 2026:
  - Event Hubs Standard: a throughput unit takes 1 MB or 1,000 events per second; a namespace has at most 40 of them.
  - Functions, Flex Consumption: 2,048 MB and one core per instance, at most 1,000 instances; by default 250 of
    them (512,000 MB) per region and subscription.
  - API Management: 2,048 concurrent connections to one backend host: per unit in the classic tiers, per gateway in v2.
"""

import math
from dataclasses import dataclass
from typing import Final

from bench.figures import Figures
from bench.requirements import CALL, CHUNK, PROXY
from bench.workloads import JSON_1K, STREAMS_1000

RATES: Final = (10, 100, 10_000)
TOKENS: Final = 300
TOKENS_PER_SECOND: Final = 20
RECORD_KB: Final = 3
CORE_SHARE: Final = 0.6
CALLS_PER_INSTANCE: Final = 100
_UNIT_EVENTS: Final = 1_000
_UNIT_KB: Final = 1_000
_BACKEND_CONNECTIONS: Final = 2_048


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a rate of streamed calls needs, each of TOKENS tokens at TOKENS_PER_SECOND."""

    rate: int
    open_streams: int
    cores: float
    instances_by_cpu: int
    instances_by_calls: int
    throughput_units: int
    gateway_units: int


def call_cost_ms(figures: Figures) -> float:
    """CPU of one such call in ms: that of a request, and of its chunks at 1,000 streams."""
    request = figures.of(JSON_1K.name, PROXY, CALL).median
    return (request + TOKENS * figures.of(STREAMS_1000.name, PROXY, CHUNK).median) / 1000


def capacity(figures: Figures, rate: int) -> Capacity:
    """Compute the needs of a rate of calls per second; by Little's law, open streams = rate x duration."""
    open_streams = rate * TOKENS // TOKENS_PER_SECOND
    cores = rate * call_cost_ms(figures) / 1000
    units = math.ceil(max(rate / _UNIT_EVENTS, rate * RECORD_KB / _UNIT_KB))
    return Capacity(
        rate,
        open_streams,
        cores,
        math.ceil(cores / CORE_SHARE),
        math.ceil(open_streams / CALLS_PER_INSTANCE),
        units,
        math.ceil(open_streams / _BACKEND_CONNECTIONS),
    )
