"""Segments that the disk does not give back for now: none is counted as lost too early, and no file is removed unread.

A disk with errors cannot be made here: where a read is to fail as on one, `Segment.lines` raises what it would.
"""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from exporters.drain import READS
from exporters.segment import Segment
from tests.exporters.conftest import StartLine
from tests.exporters.owner import adopted_by_next, child
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, FAST, HubInReach, number_of
from tests.kit.hub import wait_until

pytestmark = CLIENT_LEAVES_SOCKETS
BRISK = replace(FAST, longest_pause=0.02)

type Lines = tuple[list[memoryview], int]


def test_failures_that_pass_do_not_add_up(
    own_hub: HubInReach, line: StartLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that is read every second time while the hub is away for long is sent when that is back."""
    reads, real = iter(range(1_000_000)), Segment.lines

    def every_second(segment: Segment) -> Lines:
        if next(reads) % 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(segment)

    running = line(BRISK)
    own_hub.kill()
    monkeypatch.setattr(Segment, "lines", every_second)
    running.append(3)
    wait_until(lambda: running.failures > 3 * READS)
    own_hub.restart()
    running.wait_sent()
    assert own_hub.numbers() == [0, 1, 2]
    assert running.losses.by_reason() == {}


def test_what_could_not_be_read_is_left_for_the_next_process(
    own_hub: HubInReach, line: StartLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One goes on without it, and counts it; its file stays, since the disk may give it back another day."""
    running, real = line(BRISK, started=False), Segment.lines
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
    """That no file can be opened is no fault of a segment's: it is read once there are descriptors again."""
    code = """
import resource
from exporters.drain import READS
from exporters.pace import Pace
from exporters.sender import Sender
from tests.kit.hub import wait_until

def away():
    raise OSError("the hub is away")

owner = Owner(Path(sys.argv[1]))
owner.spool.append(a_line("1"))
owner.spool.seal()
owner.spool.sync()
pace = Pace(linger=0.01, first_pause=0.01, longest_pause=0.02)
sender = Sender(owner.spool, away, owner.losses, lambda: None, None, pace)
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
sender.stop(5)
print(owner.lost, owner.drain() == [a_line("1")])
"""
    with child(code, tmp_path / "spool") as process:
        assert process.stdout
        assert process.stdout.read() == "{} True\n"
