"""The spool against a model, through everything that can happen to it, in any order.

Invariants after every step:
  1. the disk holds exactly what was appended (True) and not acknowledged, each record once and complete;
  2. claims return complete segments, those of one process in the order they were sealed;
  3. a segment that was given back is claimed next;
  4. the backlog's records and bytes are those that wait;
  5. every refused record is counted by reason, and nothing else is.
"""

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporters.segment import Segment
from tests.exporters.owner import Owner, a_line, open_files, stored

CAP = 5000
SEGMENT = 400
MEMORY = Path("/dev/shm")  # thousands of fsyncs would take a disk minutes


@dataclass
class Batch:
    """A segment as the model knows it."""

    origin: int
    """The number of the process that wrote it."""
    lines: list[bytes] = field(default_factory=list)
    torn: int = 0

    @property
    def size(self) -> int:
        return sum(len(line) + 1 for line in self.lines) + self.torn


@dataclass
class Process:
    """A process, and what it should hold by the model."""

    number: int
    owner: Owner
    open: Batch | None = None
    sealed: list[Batch] = field(default_factory=list)
    claimed: Batch | None = None
    in_hand: Segment | None = None
    elsewhere: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> list[Batch]:
        return [*filter(None, (self.claimed, self.open)), *self.sealed]

    @property
    def size(self) -> int:
        return sum(batch.size for batch in self.waiting)

    def seal(self) -> None:
        if self.open:
            self.sealed.append(self.open)
            self.open = None


class SpoolMachine(RuleBasedStateMachine):
    """Two processes at a time on one root; a dead one is replaced by a new one."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)) / "spool"
        self.now = 10**18
        self.started = 0
        self.records = 0
        self.processes: list[Process | None] = [None, None]
        self.orphans: list[Batch] = []
        self.start(0)

    def start(self, place: int) -> Process:
        self.started += 1
        owner = Owner(self.root, CAP, segment_bytes=SEGMENT, clock_ns=lambda: self.now)
        process = self.processes[place] = Process(self.started, owner)
        return process

    def alive(self, place: int) -> Process:
        """The process at a place; if there is none, one is started and adopts."""
        process = self.processes[place]
        if process is None:
            process = self.start(place)
            self.adopted_by(process)
        return process

    def adopted_by(self, process: Process) -> None:
        process.owner.adopt()
        process.sealed += self.orphans
        self.orphans = []
        process.elsewhere = sum(other.size for other in self.processes if other and other is not process)

    places = st.integers(0, 1)

    @rule(place=places, lengths=st.lists(st.integers(0, 150), min_size=1, max_size=8))
    def append(self, place: int, lengths: list[int]) -> None:
        process = self.alive(place)
        for length in lengths:
            self.append_one(process, length)

    def append_one(self, process: Process, length: int) -> None:
        self.records += 1
        line = a_line(f"{self.records:05d}", "x" * length)
        full = process.size + process.elsewhere + len(line) + 1 > CAP
        assert process.owner.spool.append(line) == (not full)
        if full:
            process.lost["spool_full"] += 1
            return
        if process.open is None:
            process.open = Batch(process.number)
        process.open.lines.append(line)
        if process.open.size >= SEGMENT:
            process.seal()

    @rule(place=places, outcome=st.sampled_from(["sent", "failed", "under way"]), seal=st.booleans())
    def send(self, place: int, outcome: str, seal: bool) -> None:
        process = self.alive(place)
        if seal:
            process.owner.spool.seal()
            process.seal()
        segment = process.owner.spool.claim()
        if process.in_hand or not (process.claimed or process.sealed):
            assert segment is None
        else:
            assert segment
            self.claimed_by(process, segment)
        if process.in_hand and outcome == "sent":
            process.owner.spool.acknowledge(process.in_hand)
            process.claimed = process.in_hand = None
        if process.in_hand and outcome == "failed":
            process.owner.spool.give_back(process.in_hand)
            process.in_hand = None

    def claimed_by(self, process: Process, segment: Segment) -> None:
        process.in_hand = segment
        views, torn = segment.lines()
        lines = list(map(bytes, views))
        if process.claimed is None:
            (found,) = [batch for batch in process.sealed if (batch.lines, batch.torn) == (lines, torn)]
            assert found is next(batch for batch in process.sealed if batch.origin == found.origin)
            process.sealed.remove(found)
            process.claimed = found
        assert (process.claimed.lines, process.claimed.torn) == (lines, torn)

    @rule(place=places)
    def sync(self, place: int) -> None:
        """Changes only what a power cut would lose; no sealed segment stays open."""
        process = self.alive(place)
        process.owner.spool.sync()
        opened = process.owner.path_of_open()
        assert [path for path in open_files(self.root) if path.parent == process.owner.path] == opened

    @rule(place=places)
    def adopt(self, place: int) -> None:
        self.adopted_by(self.alive(place))

    @rule(place=places, torn=st.integers(0, 20))
    def crash(self, place: int, torn: int) -> None:
        """A kill, perhaps during a write."""
        process = self.processes[place]
        if process is None:
            return
        process.owner.crash()
        if torn and process.open:
            process.open.torn = torn
            (path,) = process.owner.path_of_open()
            with path.open("ab") as file:
                file.write(a_line("torn")[:torn])
        self.leave(place, process)

    @rule(place=places, late=st.booleans())
    def close(self, place: int, late: bool) -> None:
        """An orderly shutdown, after which a call may still end."""
        process = self.processes[place]
        if process is None:
            return
        process.owner.spool.close()
        process.seal()
        if late:
            assert not process.owner.spool.append(a_line("late"))
            process.lost["after_close"] += 1
            self.every_loss_has_its_reason()
        process.owner.close()
        self.leave(place, process)

    def leave(self, place: int, process: Process) -> None:
        """Leave its segments behind, oldest first."""
        claimed = [process.claimed] if process.claimed else []
        opened = [process.open] if process.open else []
        self.orphans += [*claimed, *process.sealed, *opened]
        self.processes[place] = None

    @rule(seconds=st.integers(-5, 5))
    def time_passes(self, seconds: int) -> None:
        """The clock advances or is set back."""
        self.now += seconds * 10**9

    @invariant()
    def nothing_is_missing(self) -> None:
        held = [batch for process in self.processes if process for batch in process.waiting]
        assert stored(self.root) == Counter(line for batch in [*held, *self.orphans] for line in batch.lines)

    @invariant()
    def the_backlog_is_what_waits(self) -> None:
        for process in filter(None, self.processes):
            backlog = process.owner.spool.backlog()
            assert backlog.bytes == process.size
            assert backlog.records == sum(len(batch.lines) for batch in process.waiting)
            assert process.owner.spool.room.elsewhere == process.elsewhere

    @invariant()
    def every_loss_has_its_reason(self) -> None:
        for process in filter(None, self.processes):
            assert process.owner.lost == process.lost

    def teardown(self) -> None:
        """At the end every waiting record can be adopted, once."""
        for process in filter(None, self.processes):
            process.owner.crash()
        heir = Owner(self.root)
        heir.adopt()
        assert Counter(heir.drain()) == Counter(
            line
            for batch in [
                *(batch for process in self.processes if process for batch in process.waiting),
                *self.orphans,
            ]
            for line in batch.lines
        )
        assert stored(self.root) == {}
        heir.close()
        assert not self.root.exists() or list(self.root.iterdir()) == []
        shutil.rmtree(self.root.parent)


TestSpoolModel = SpoolMachine.TestCase
TestSpoolModel.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
