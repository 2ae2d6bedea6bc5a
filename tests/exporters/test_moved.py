"""A spool whose path leads elsewhere: renamed, or mounted over, while its process runs. Nothing is stranded."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.exporters.owner import Owner, a_line, adopted_by_next, child, ids, in_flight
from tests.kit.linux import mount_namespace

LIFE = """
import itertools, shutil, signal, subprocess
root, fault = Path(sys.argv[1]), sys.argv[2]
root.parent.mkdir(exist_ok=True)
owner = Owner(root, segment_bytes=400)
numbers = itertools.count()
def work():
    for number in itertools.islice(numbers, 10):
        assert owner.spool.append(a_line(f"record_{number:02d}", "." * 60))
    owner.journal.begin(f"open_{number:02d}", a_line(f"open_{number:02d}"))
    owner.journal.begin(f"done_{number:02d}", a_line(f"done_{number:02d}"))
    owner.journal.end(f"done_{number:02d}")
work()
segment = owner.spool.claim()
aside = root.with_name("aside")
if fault == "mounted over":
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
elif fault == "directory renamed":
    owner.path.rename(root / "elsewhere")
else:
    root.rename(aside)
    if fault == "made anew":
        root.mkdir()
    if fault == "replaced by a copy":
        shutil.copytree(aside, root)
    if fault == "parent gone":
        root.parent.rename(root.parent.with_name("far"))
work()
owner.upkeep.restore()
work()
owner.spool.acknowledge(segment)
print(owner.lost, owner.journal.failures, flush=True)
"""
KILLED = LIFE + "os.kill(os.getpid(), signal.SIGKILL)\n"
CLOSED = LIFE + "assert len(owner.drain()) == 26\nowner.close()\n"

RECORDS = [f"record_{number:02d}" for number in range(30)]
CALLS = ["open_09", "open_19", "open_29"]
FAULTS = ["renamed", "made anew", "replaced by a copy", "directory renamed", "parent gone"]


def adopted_in(root: Path) -> list[str]:
    return sorted(set(ids(adopted_by_next(root))))


@pytest.mark.parametrize("fault", FAULTS)
def test_everything_is_at_the_path_again(tmp_path: Path, fault: str) -> None:
    """Records and calls from before, between and after are found at the path when the process has been killed, except
    what the hub had already; nothing is counted as lost."""
    root = tmp_path / "parent" / "spool"
    with child(KILLED, root, fault) as process:
        assert process.stdout.read() == "{} 0\n"
        assert process.wait(60) == -signal.SIGKILL
    found = adopted_in(root)
    sent = 0 if fault == "replaced by a copy" else 4  # a copy of what was sent is a repetition, with equal ids
    assert found == sorted(RECORDS[sent:] + CALLS)


@pytest.mark.parametrize("fault", ["renamed", "made anew", "directory renamed"])
def test_nothing_is_left_behind(tmp_path: Path, fault: str) -> None:
    """A process that goes on sends all of it, and leaves only its calls in flight, at the path."""
    root = tmp_path / "spool"
    with child(CLOSED, root, fault) as process:
        assert process.stdout.read() == "{} 0\n"
        assert process.wait(60) == 0
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".call"] * 3 + [".lock"]
    assert adopted_in(root) == CALLS
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_mount_over_the_root_hides_nothing(tmp_path: Path) -> None:
    """Another disk at the path: all of it is copied there, and the old directory is emptied."""
    root = tmp_path / "spool"
    code = (
        LIFE
        + """
from tests.exporters.owner import adopted_by_next, ids
owner.crash()
print(sorted(set(ids(adopted_by_next(root)))))
subprocess.run(["umount", root], check=True)
print([path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"])
"""
    )
    with child(code, root, "mounted over", prefix=mount_namespace()) as process:
        assert process.stdout.read() == f"{{}} 0\n{sorted(RECORDS[4:] + CALLS)}\n[]\n"


def test_a_root_that_cannot_be_made_loses_nothing(tmp_path: Path) -> None:
    """While a file is in the way of the root, segments wait where they are, and are found once it is gone."""
    root = tmp_path / "spool"
    owner = Owner(root)
    assert owner.spool.append(a_line("1"))
    owner.journal.begin("2", a_line("2"))
    owner.spool.seal()
    root.rename(tmp_path / "aside")
    root.write_text("in the way")
    with pytest.raises(OSError, match="exists"):
        owner.upkeep.restore()
    root.unlink()
    owner.upkeep.restore()
    assert in_flight(root) == [a_line("2")]
    assert owner.drain() == [a_line("1")]
    owner.close()
    shutil.rmtree(tmp_path / "aside", ignore_errors=True)
