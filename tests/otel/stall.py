"""Measures how long an export blocks the event loop: prints the longest delay in ms, without and with an export.

A full queue is exported in one go, under the conditions of the proxy's process: the sender's switch interval, and the
proxy's settings of the garbage collector. A delay is this process's CPU time between falling asleep and running again,
so that other processes do not count.

    python -m tests.otel.stall CONNECTION_STRING DIRECTORY
"""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from opentelemetry.trace import Tracer

from exporters.sender import TURN_S
from otel import attributes as a
from otel.azure_monitor import AzureMonitor
from otel.call import Attempt, Call, Choice, Request, Usage
from otel.outbox import QUEUE, Outbox
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.scrub import Scrub
from otel.span import CallSpan

TICK_S = 0.001


async def longest_delay(running: Callable[[], bool]) -> float:
    longest = 0.0
    while running():
        before = time.process_time()
        await asyncio.sleep(TICK_S)
        longest = max(longest, time.process_time() - before)
    return longest * 1000


def for_seconds(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def fill(tracer: Tracer) -> None:
    for number in range(QUEUE):
        call = Call(operation="chat", deployment="gpt-4o", request=Request(model="gpt-4o", stream=True))
        call.attempts.append(Attempt("default", call.arrived_ns, 200))
        call.first_chunk_ns = call.first_token_ns = call.arrived_ns + 10**6
        call.end_ns = call.arrived_ns + 10**9
        call.http_status, call.region, call.chunks, call.server_address = 200, "East US 2", number, "example.test"
        call.answer.choices, call.answer.usage = [Choice(content="x")], Usage(10, 20, 30)
        CallSpan(tracer, call).finish()


def main() -> None:
    sys.setswitchinterval(TURN_S)
    outbox = Outbox(Scrub(), lambda reason, spans: None)
    outbox.add(AzureMonitor(sys.argv[1], Path(sys.argv[2]), None).span_exporter())
    tracer = make_provider([outbox], make_sampler(1.0)).get_tracer(a.SCOPE)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # as app.main does
    print(asyncio.run(longest_delay(for_seconds(1.0))))
    fill(tracer)
    outbox.begin_stop()  # in a thread that ends when everything has been exported
    exporting = next(thread for thread in threading.enumerate() if thread.name == "span-flush")
    print(asyncio.run(longest_delay(exporting.is_alive)))


if __name__ == "__main__":
    main()
