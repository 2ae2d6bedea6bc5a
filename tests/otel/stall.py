"""How long a busy export keeps the event loop from running: prints the longest delay in ms, without and with it.

A delay is what this process has worked in the meantime, so that others on the machine do not count.

    python -m tests.otel.stall CONNECTION_STRING DIRECTORY
"""

import asyncio
import sys
import time
from pathlib import Path

from otel import attributes as a
from otel.azure_monitor import AzureMonitor
from otel.call import Attempt, Call, Choice, Request, Usage
from otel.outbox import QUEUE, Outbox
from otel.provider import make_provider
from otel.sampling import make_sampler
from otel.scrub import Scrub
from otel.span import CallSpan

TICK_S = 0.001


async def longest_delay(until: float | None, waiting: Outbox | None) -> float:
    longest, begun = 0.0, time.perf_counter()
    while time.perf_counter() - begun < (until or 60):
        before = time.process_time()
        await asyncio.sleep(TICK_S)
        longest = max(longest, time.process_time() - before)
        if waiting is not None and not waiting.waiting:
            break
    return longest * 1000


def main() -> None:
    outbox = Outbox(Scrub(), lambda reason, spans: None)
    outbox.add(AzureMonitor(sys.argv[1], Path(sys.argv[2]), None).span_exporter())
    tracer = make_provider([outbox], make_sampler(1.0)).get_tracer(a.SCOPE)
    print(asyncio.run(longest_delay(1.0, None)))
    for number in range(QUEUE):
        call = Call(operation="chat", deployment="gpt-4o", request=Request(model="gpt-4o", stream=True))
        call.attempts.append(Attempt("default", call.arrived_ns, 200))
        call.first_chunk_ns = call.first_token_ns = call.arrived_ns + 10**6
        call.end_ns = call.arrived_ns + 10**9
        call.http_status, call.region, call.chunks, call.server_address = 200, "East US 2", number, "example.test"
        call.answer.choices, call.answer.usage = [Choice(content="x")], Usage(10, 20, 30)
        CallSpan(tracer, call).finish()
    print(asyncio.run(longest_delay(None, outbox)))


if __name__ == "__main__":
    main()
