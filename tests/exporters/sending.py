"""Shared by the sender's tests: records, a broker that can be restarted, and a sender with short intervals."""

import json
import signal
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from azure.eventhub.aio import EventHubProducerClient

from exporters.blob import BlobStore
from exporters.directory import OwnDirectory
from exporters.hub import Hub
from exporters.journal import Journal
from exporters.losses import Losses
from exporters.pace import Pace
from exporters.sender import Sender
from exporters.spool import Spool
from exporters.upkeep import Upkeep
from tests.kit.hub import Broker, Record, checked, wait_until

FAST = Pace(linger=0.01, look_every=0.1, first_pause=0.02, longest_pause=0.2, busy_pause=0.2)
IMPATIENT = replace(FAST, answer=0.5, longest_answer=4.0, store=0.5)
"""For a hub that does not respond; elsewhere a slow machine would look like one."""

CLIENT_LEAVES_SOCKETS = pytest.mark.filterwarnings(
    # azure-eventhub leaves the sockets of broken connections to the garbage collector
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@dataclass(frozen=True)
class Recorded(Pace):
    """Records the pauses and timeouts that production would have, and pauses a hundredth of that."""

    linger: float = 0.01
    rests: list[float] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)

    def pause(self, failures: int, busy: bool) -> float:
        self.rests.append(super().pause(failures, busy))
        return self.rests[-1] / 100

    def patience(self, unanswered: int) -> float:
        self.unanswered.append(unanswered)
        return super().patience(unanswered)


def record_line(number: int, content: str = "", **more: Any) -> bytes:
    """A record that is valid by the schema, with the number in its prompt."""
    record = {
        "type": "completion",
        "schema_version": 1,
        "id": uuid.uuid4().hex,
        "trace_id": uuid.uuid4().hex,
        "timestamp": "2024-11-13T06:59:30.584946",
        "model": "gpt-4.1-mini",
        "region": "unknown",
        "prompt": [{"role": "user", "content": str(number)}],
        "content": content,
        "usage": None,
        "latency_ms": 1,
        **more,
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def number_of(record: Record) -> int:
    return int(record["prompt"][0]["content"])


@dataclass
class RestartableHub:
    """A broker with one partition, so that there is one order; it may be killed and restarted on its port."""

    directory: Path
    port: int

    def __post_init__(self) -> None:
        self.broker = Broker(self.directory, "--partitions", "1", "--port", str(self.port))
        self._conn_str = self.broker.conn_str
        self._options: tuple[str, ...] = ()
        self._first = 0

    def connect(self) -> EventHubProducerClient:
        return Hub("records", self._conn_str).connect()

    def kill(self) -> None:
        if self.broker.process.poll() is None:
            self.broker.kill()

    def restart(self, *options: str) -> None:
        """Kill it if it is alive, and start it on the same port, with the same events."""
        self.kill()
        self.broker = Broker(self.directory, "--partitions", "1", "--port", str(self.port), *options)
        self._options = options

    def mend(self) -> None:
        """Undo all faults, and ignore the events of earlier tests."""
        self.broker.process.send_signal(signal.SIGCONT)
        if self.broker.process.poll() is not None or self._options:
            self.restart()
        self.broker.clear_faults()
        self._first = int(str(self.broker.stats()["events_total"]))

    def events(self) -> list[dict[str, Any]]:
        """The events that have arrived, in order."""
        url = f"http://127.0.0.1:{self.broker.control_port}/events?from={self._first}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            found: list[dict[str, Any]] = json.load(answer)["events"]
        return found

    def records(self) -> list[Record]:
        """The records that have arrived, each valid by the schema."""
        return [checked(json.loads(event["body"])) for event in self.events()]

    def numbers(self) -> list[int]:
        """The numbers of the records that have arrived, without duplicates, in order of first arrival."""
        return list({record["id"]: number_of(record) for record in self.records()}.values())

    def duplicates(self) -> int:
        records = self.records()
        return len(records) - len({record["id"] for record in records})


@dataclass
class Pipeline:
    """A spool and its sender."""

    directory: Path
    connect: Callable[[], EventHubProducerClient]
    pace: Pace = FAST
    open_blobs: Callable[[], BlobStore] | None = None
    adopt: Callable[[], object] = lambda: None
    appended: int = 0

    def __post_init__(self) -> None:
        self.losses = Losses()
        self.own = OwnDirectory(self.directory)
        self.spool = Spool(self.own, 1 << 30, self.losses)
        upkeep = Upkeep(self.own, self.spool, Journal(self.own))
        self.sender = Sender(self.spool, self.connect, self.losses, upkeep, self.adopt, self.open_blobs, self.pace)

    def append(self, count: int = 1, content: str = "") -> None:
        """Append numbered records, and seal them as one segment."""
        for _ in range(count):
            assert self.spool.append(record_line(self.appended, content))
            self.appended += 1
        self.spool.seal()

    def wait_sent(self, seconds: float = 60) -> None:
        wait_until(lambda: self.spool.backlog().records == 0, seconds)

    @property
    def failures(self) -> int:
        """Consecutive failures of sending."""
        return self.sender._drain.failures

    @property
    def runs(self) -> bool:
        return self.sender._thread.is_alive()

    def close(self) -> None:
        if self.runs:
            self.sender.stop(1.0)
        self.spool.close()
        self.own.release()
