"""The way through memory: while the disk fails, records still reach a hub that works."""

from pathlib import Path

import pytest

from tests.exporters.owner import Owner, a_line, adopted_by_next, child, ids, segments
from tests.exporters.sending import CLIENT_LEAVES_SOCKETS, RestartableHub
from tests.kit.linux import mount_namespace

pytestmark = CLIENT_LEAVES_SOCKETS

SENDING = """
import json, subprocess
from exporters.hub import Hub
from exporters.sender import Sender
from tests.exporters.sending import record_line
from tests.kit.hub import wait_until
root, conn_str, fault = Path(sys.argv[1]), *sys.argv[2:]
root.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", root], check=True)
owner = Owner(root)
def send(first, count):
    for number in range(first, first + count):
        assert owner.spool.append(record_line(number, "x" * 200))
send(0, 5)
if fault == "read-only":
    owner.spool.seal()
    # over itself: a disk with files open for writing cannot become read-only
    subprocess.run(["mount", "--bind", root, root], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
else:
    try:
        (root / "filling").write_bytes(b"." * 65536)
    except OSError as full:
        assert full.errno == 28
send(5, 20)
held = owner.spool.held_bytes > 0
sender = Sender(owner.spool, Hub("records", conn_str).connect, owner.losses, owner.upkeep, owner.adopt)
sender.start()
wait_until(lambda: owner.spool.backlog().records == 0)
print(json.dumps([held, owner.spool.held_bytes, owner.lost, sender.stop(5.0)]))
"""


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_failing_disk_costs_no_record_while_the_hub_works(root: Path, own_hub: RestartableHub, fault: str) -> None:
    """On a full or read-only disk every record arrives, in order, those that were on disk too."""
    with child(SENDING, root, own_hub.broker.conn_str, fault, prefix=mount_namespace()) as process:
        assert process.stdout.read() == "[true, 0, {}, true]\n"
    assert own_hub.numbers() == list(range(25))


def in_the_way(root: Path) -> None:
    root.write_text("in the way")


def test_memory_is_bounded(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What does not fit is refused, and counted by what is wrong with the disk; the log says that the disk fails."""
    in_the_way(root)
    owner = Owner(root, memory_bytes=1000)
    kept = [owner.spool.append(a_line(str(number), "x" * 100)) for number in range(20)]
    assert kept == [True] * 6 + [False] * 14
    assert owner.lost == {"spool_unwritable": 14}
    assert owner.spool.held_bytes <= 1000
    assert caplog.text.count("the spool's disk fails") == 1
    assert ids(owner.drain()) == [str(number) for number in range(6)]
    assert owner.spool.held_bytes == owner.spool.room.waiting == 0
    owner.close()


def test_what_is_in_memory_goes_to_disk_when_that_works_again(root: Path) -> None:
    """From then on kill -9 loses nothing; the order is that of the calls."""
    in_the_way(root)
    owner = Owner(root, clock_ns=iter(range(10**18, 10**20, 10**10)).__next__)
    assert owner.spool.append(a_line("1"))
    root.unlink()
    assert owner.spool.append(a_line("2"))
    owner.upkeep.every_second()
    assert owner.spool.held_bytes == 0
    owner.crash()
    assert owner.lost == {}
    assert len(segments(root)) == 2
    assert adopted_by_next(root) == [a_line("1"), a_line("2")]


@pytest.mark.parametrize("mended", [True, False])
def test_the_end_of_the_process(root: Path, mended: bool) -> None:
    """What is in memory at the end is written for the next process, or counted as lost if the disk still fails."""
    in_the_way(root)
    owner = Owner(root)
    for number in range(3):
        assert owner.spool.append(a_line(str(number)))
    if mended:
        root.unlink()
    owner.close()
    assert owner.lost == ({} if mended else {"spool_unwritable": 3})
    if mended:
        assert ids(adopted_by_next(root)) == ["0", "1", "2"]
