"""The spool on a faulty disk: full, read-only, removed, another user's. Calls go on, and losses are counted."""

import errno
import itertools
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from exporters.directory import make_private
from tests.exporters.owner import Owner, a_line, child
from tests.kit.linux import mount_namespace

NOBODY = 65534


def test_another_users_root_is_refused(root: Path) -> None:
    """Its owner could read and plant records: nothing is written there, and the loss is counted."""
    if os.geteuid() != 0:
        with pytest.raises(PermissionError, match="another user"):
            make_private(Path("/"))
        return
    root.mkdir()
    os.chown(root, NOBODY, NOBODY)
    owner = Owner(root)
    assert not owner.spool.append(a_line("1"))
    assert owner.lost == {"spool_unwritable": 1}
    assert list(root.iterdir()) == []
    owner.close()


FULL_DISK = """
import json, subprocess
root, owner = Path(sys.argv[1]), None
root.mkdir()
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", root], check=True)
owner = Owner(root, segment_bytes=16_000)
lines = [a_line(f"{number:032x}", "x" * 2900) for number in range(60)]
kept = [line for line in lines if owner.spool.append(line)]
full = dict(owner.lost)
owner.journal.begin("1", lines[0])
try:
    owner.spool.import_segment(f"{1:018x}-00000001.ndjson", b"".join(line + b"\\n" for line in lines[:20]))
except OSError as fault:
    imported = fault.errno
segment = owner.spool.claim()
sent = segment.lines()[0]
owner.spool.acknowledge(segment)
again = [line for line in lines[:3] if owner.spool.append(line)]
owner.journal.begin("2", b"x")
print(json.dumps({
    "kept": len(kept), "full": full, "lost": owner.lost, "again": len(again), "imported": imported,
    "whole": sent + owner.drain() == kept + again, "unjournalled": owner.journal.failures,
    "left": sorted(path.suffix for path in owner.path.iterdir()),
}))
"""


def test_a_full_disk_loses_only_what_does_not_fit(root: Path) -> None:
    """ENOSPC: the record is counted as lost to disk_full, and nothing of it stays behind. Records that fitted are
    whole, and with space again new ones are accepted. A call that cannot be journalled goes on."""
    with child(FULL_DISK, root, prefix=mount_namespace()) as process:
        found = json.loads(process.stdout.read())
    assert found["full"] == found["lost"] == {"disk_full": 60 - found["kept"]}
    assert 15 <= found["kept"] <= 21
    assert found["whole"]
    assert found["again"] == 3
    assert found["imported"] == errno.ENOSPC
    assert found["unjournalled"] == 1
    assert found["left"] == [".call"]


def hand_over(root: Path) -> None:
    """Give a directory to an unprivileged user, since permissions do not bind root."""
    if os.geteuid() == 0:
        os.chown(root, NOBODY, NOBODY)
        for above in itertools.takewhile(lambda folder: folder != Path(tempfile.gettempdir()), root.parents):
            above.chmod(0o755)


def test_a_read_only_directory_loses_only_the_record(root: Path) -> None:
    """`append` returns False, counts the loss and raises nothing; once the directory is writable, records are accepted
    again."""
    root.mkdir(mode=0o500)
    code = f"""
if os.geteuid() == 0:
    os.setuid({NOBODY})
root = Path(sys.argv[1])
owner = Owner(root)
kept = [owner.spool.append(a_line("1"))]
owner.journal.begin("1", a_line("1"))
root.chmod(0o700)
kept += [owner.spool.append(a_line("2")), owner.spool.append(a_line("3"))]
print(kept, owner.lost, owner.journal.failures, len(owner.drain()))
"""
    hand_over(root)
    with child(code, root) as process:
        assert process.stdout.read() == "[False, True, True] {'spool_unwritable': 1} 1 2\n"


def test_a_segment_that_cannot_be_renamed_is_not_lost(root: Path) -> None:
    """On a disk that became read-only a segment keeps its name, and is still sent."""
    code = f"""
if os.geteuid() == 0:
    os.setuid({NOBODY})
owner = Owner(Path(sys.argv[1]))
kept = [owner.spool.append(a_line("1"))]
owner.path.chmod(0o500)
owner.spool.seal()
kept += [owner.spool.append(a_line("2"))]
print(kept, owner.lost, owner.spool.backlog().records, owner.drain() == [a_line("1")])
"""
    root.mkdir(mode=0o700)
    hand_over(root)
    with child(code, root) as process:
        assert process.stdout.read() == "[True, False] {'spool_unwritable': 1} 1 True\n"


@pytest.mark.parametrize("gone", ["root", "directory", "lock"])
def test_removed_files_are_created_again(root: Path, gone: str) -> None:
    """After a cleanup of the temp directory, the records that went with it are counted as lost, and new ones are kept,
    under a lock that makes them adoptable after a crash."""
    owner = Owner(root)
    owner.spool.append(a_line("1"))
    owner.spool.append(a_line("2"))
    owner.journal.begin("0", a_line("0"))
    owner.journal.end("0")
    if gone == "lock":
        owner.path.with_suffix(".lock").unlink()
    else:
        shutil.rmtree(root if gone == "root" else owner.path)
    owner.spool.seal()
    assert owner.lost == ({} if gone == "lock" else {"spool_removed": 2})
    assert owner.spool.append(a_line("3"))
    owner.journal.begin("4", a_line("4"))
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    living = Owner(root)
    assert living.adopt() == 0
    owner.crash()
    assert living.adopt() == 1
    before = [a_line("1"), a_line("2")] if gone == "lock" else []
    assert living.drain() == [*before, a_line("3"), a_line("4")]
    living.close()
