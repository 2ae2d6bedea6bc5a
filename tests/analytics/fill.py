"""Fills a hub of the stand-in broker before it starts: `python -m tests.analytics.fill DIR 1000000`."""

import random
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import orjson

from dev.event_hubs.amqp_values import Described, ULong, encode
from dev.event_hubs.log import PartitionLog
from tests.analytics.kit import START, record

_REGIONS = ("Sweden Central", "East US 2", "West Europe", "Japan East")
_MODELS = ("gpt-4o-2024-11-20", "gpt-4o-mini-2024-07-18", "gpt-4.1-2025-04-14", "text-embedding-3-large")


def event(body: bytes) -> bytes:
    """The encoded message that a producer sends."""
    properties = {"type": "completion", "schema_version": 1}
    return encode(Described(ULong(0x74), properties)) + encode(Described(ULong(0x75), body))


def fill(directory: Path, bodies: Iterable[bytes], partitions: int = 4, hub: str = "records") -> None:
    """Write events to the partitions in turn."""
    directory.mkdir(parents=True, exist_ok=True)
    logs = [PartitionLog(directory / f"{hub}-{n}.log") for n in range(partitions)]
    waiting: list[list[bytes]] = [[] for _ in logs]
    for number, body in enumerate(bodies):
        batch = waiting[number % partitions]
        batch.append(event(body))
        if len(batch) == 500:
            logs[number % partitions].append(batch, None)
            batch.clear()
    for log, batch in zip(logs, waiting, strict=True):
        if batch:
            log.append(batch, None)
        log.close()


def bodies(count: int, hours: int = 48) -> Iterator[bytes]:
    """Records of calls spread over hours, by regions, models and callers; about 900 bytes each."""
    chance = random.Random(8)
    for number in range(count):
        first, latency = chance.randint(40, 400), chance.randint(500, 20_000)
        prompt, completion = chance.randint(5, 2000), chance.randint(1, 800)
        fields = record(
            number,
            START + timedelta(hours=hours * number / count),
            model=chance.choice(_MODELS),
            region=chance.choice(_REGIONS),
            status=chance.choices(("completed", "client_aborted", "upstream_error"), (96, 3, 1))[0],
            latency_ms=latency,
            time_to_first_chunk_ms=first,
            time_to_first_token_ms=first + chance.randint(5, 99),
            streaming_duration_ms=latency - first,
            usage={"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            caller={"subscription_id": f"team-{chance.randint(1, 30)}", "product": "chat"},
        )
        yield orjson.dumps(fields)


if __name__ == "__main__":
    fill(Path(sys.argv[1]), bodies(int(sys.argv[2])))
