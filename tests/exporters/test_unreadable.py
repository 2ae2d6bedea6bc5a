"""Segments that cannot be read for now: none is counted as lost too early, and no unread file is removed.

A disk with errors cannot be made here, so `Segment.lines` raises the error that it would cause.
"""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.drain import READS
from exporters.segment import Segment
from tests.exporters.conftest import StartPipeline
from tests.exporters.owner import adopted_by_next, child
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, RestartableHub, number_of
from tests.kit.hub import wait_until

pytestmark = CLIENT_LEAVES_SOCKETS
SHORT = replace(FAST, longest_pause=0.02)

type Lines = tuple[list[memoryview], int]


def test_passing_failures_do_not_add_up(
    own_hub: RestartableHub, pipeline: StartPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a long outage of the hub, a segment of which every second read fails is sent when the hub is back."""
    reads, real = iter(range(1_000_000)), Segment.lines

    def every_second(segment: Segment) -> Lines:
        if next(reads) % 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(segment)

    running = pipeline(SHORT)
    own_hub.kill()
    monkeypatch.setattr(Segment, "lines", every_second)
    running.append(3)
    wait_until(lambda: running.failures > 3 * READS)
    own_hub.restart()
    running.wait_sent()
    assert own_hub.numbers() == [0, 1, 2]
    assert running.losses.by_reason() == {}


def test_an_unreadable_segment_is_left_for_the_next_process(
    own_hub: RestartableHub, pipeline: StartPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted as lost, and the next segment is sent; its file stays, since the disk may recover."""
    running, real = pipeline(SHORT, started=False), Segment.lines
    running.append(3)
    (damaged,) = running.own.path().glob("*.ndjson")
    running.append(2)

    def broken(segment: Segment) -> Lines:
        if segment.path == damaged:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(segment)

    monkeypatch.setattr(Segment, "lines", broken)
    running.sender.start()
    running.wait_sent()
    assert own_hub.numbers() == [3, 4]
    assert running.losses.by_reason() == {"spool_unreadable": 3}
    monkeypatch.undo()
    running.close()
    assert [number_of(json.loads(each)) for each in adopted_by_next(running.own.root)] == [0, 1, 2]


def test_a_process_out_of_file_descriptors_loses_nothing(tmp_path: Path) -> None:
    """Without file descriptors a segment cannot be read either; it is not lost, and is read once there are some
    again."""
    code = """
import resource
from exporters.drain import READS
from exporters.pace import Pace
from exporters.sender import Sender
from tests.kit.hub import wait_until

def unreachable():
    raise OSError("the hub is down")

owner = Owner(Path(sys.argv[1]))
owner.spool.append(a_line("1"))
owner.spool.seal()
owner.spool.sync()
pace = Pace(linger=0.01, first_pause=0.01, longest_pause=0.02)
sender = Sender(owner.spool, unreachable, owner.losses, owner.upkeep, lambda: None, None, pace)
sender.start()
wait_until(lambda: sender._drain.failures > 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    before = sender._drain.failures
wait_until(lambda: sender._drain.failures > before + 3 * READS)
for fd in held:
    os.close(fd)
sender.stop(2)
print(owner.lost, owner.drain() == [a_line("1")])
"""
    with child(code, tmp_path / "spool") as process:
        assert process.stdout
        assert process.stdout.read() == "{} True\n"
