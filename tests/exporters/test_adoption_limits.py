"""Adoption without space, without a lock file, and of large calls: nothing that is on disk is lost."""

import sys
from pathlib import Path

import pytest

from tests.exporters.owner import Owner, a_line, child, ids, segments
from tests.exporters.test_adoption import a_dead_process
from tests.kit.hub import wait_until
from tests.kit.linux import mount_namespace


@pytest.mark.parametrize("limit", ["max_bytes", "disk"])
def test_nothing_on_disk_is_lost_for_want_of_space(root: Path, limit: str) -> None:
    """Past the size limit and on a full disk, segments and calls in flight are adopted all the same: they are on disk
    already, and take no more space there."""
    if limit == "disk":
        with child(ON_A_FULL_DISK, root, prefix=mount_namespace()) as process:
            assert process.stdout.read() == "True {}\n"
        return
    a_dead_process(root, "dead", calls=5, records=10)
    owner = Owner(root, max_bytes=500)
    assert owner.adopt() == 1
    assert owner.lost == {}
    assert len(owner.drain()) == 15
    assert owner.adopt() == 0
    wait_until(lambda: not segments(root))
    owner.close()


ON_A_FULL_DISK = """
import subprocess
from tests.exporters.test_adoption import a_dead_process
root = Path(sys.argv[1])
root.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", root], check=True)
a_dead_process(root, "dead", calls=20)
try:
    (root / "filling").write_bytes(b"." * 300_000)
except OSError as fault:
    assert fault.errno == 28
owner = Owner(root)
assert owner.adopt() == 1
calls = [line for line in owner.drain() if b"_call_" in line]
print(len(calls) == 20, owner.lost)
"""


def test_a_directory_without_a_lock_file_is_adopted(root: Path) -> None:
    """Segments and calls in a directory whose lock file is gone are adopted once their process is dead, and are left
    alone while it lives; other folders are not touched."""
    dead = a_dead_process(root, "dead", calls=1)
    dead.directory._lock.path.unlink()
    (root / "application-insights").mkdir()
    living = Owner(root)
    assert living.spool.append(a_line("living"))
    living.directory._lock.path.unlink()
    owner = Owner(root)
    assert owner.adopt() == 1
    assert sorted(ids(owner.drain())) == ["dead_0", "dead_1", "dead_2", "dead_call_0"]
    living.upkeep.restore()
    assert living.directory._lock.path.exists()
    assert ids(living.drain()) == ["living"]
    living.close()
    owner.close()
    assert [path.name for path in root.iterdir()] == ["application-insights"]


def test_calls_in_flight_are_not_read_into_memory(root: Path) -> None:
    """However large the prompts of a dead process, adoption takes a few megabytes."""
    dead = Owner(root)
    for number in range(8):
        dead.journal.begin(f"{number}", a_line(f"{number}", "x" * 20_000_000))
    dead.crash()
    code = """
import resource
owner = Owner(Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert owner.adopt() == 1
print(owner.spool.backlog().records, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    with child(code, root) as process:
        records, megabytes = map(int, process.stdout.read().split())
    assert records == 8
    assert megabytes < 8 * (1024 if sys.platform == "darwin" else 1)
