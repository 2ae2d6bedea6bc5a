"""Owners of spool directories for tests: in this process, where they can simulate a crash, or in a child process."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporters.adoption import Adoption
from exporters.directory import OwnDirectory
from exporters.journal import Journal
from exporters.losses import Losses
from exporters.segment import Segment, is_segment
from exporters.spool import Spool
from exporters.upkeep import Upkeep
from tests.kit.linux import needs_proc

ROOT = Path(__file__).parents[2]


class Owner:
    """A process's spool and journal, built as the proxy builds them."""

    def __init__(self, root: Path, max_bytes: int = 1 << 30, **more: Any) -> None:
        self.losses = Losses()
        self.directory = OwnDirectory(root)
        self.spool = Spool(self.directory, max_bytes, self.losses, **more)
        self.journal = Journal(self.directory, self.spool.room)
        self.upkeep = Upkeep(self.directory, self.spool, self.journal)
        self.adoption = Adoption(self.directory, self.spool)

    @property
    def path(self) -> Path:
        return self.directory.path()

    @property
    def lost(self) -> dict[str, int]:
        return dict(self.losses.by_reason())

    def adopt(self) -> int:
        return self.adoption.run()

    def drain(self) -> list[bytes]:
        """Claim and acknowledge every waiting record."""
        self.spool.seal()
        found: list[bytes] = []
        while (segment := self.spool.claim()) is not None:
            found += map(bytes, segment.lines()[0])
            self.spool.acknowledge(segment)
        return found

    def path_of_open(self) -> list[Path]:
        """The open segment, if there is one; also after a crash."""
        return [segment.path] if (segment := self.spool._open) else []

    def close(self) -> None:
        """Shut down in order."""
        self.spool.close()
        self.journal.close()
        self.directory.release()

    def crash(self) -> None:
        """Do what happens to a killed process: its files are closed, and nothing else."""
        slots = [*self.journal._free, *self.journal._taken.values()]
        lock, opened = self.directory._lock, self.directory._opened
        written = [*self.spool._sealed, *filter(None, (self.spool._open, self.spool._claimed))]
        fds = [*(segment.fd for segment in written), *(slot.fd for slot in slots)]
        fds += [lock._fd if lock else -1, opened.fd if opened else -1]
        for fd in fds:
            if fd >= 0:
                os.close(fd)


def in_flight(root: Path) -> list[bytes]:
    """The line in each slot of the journals, in the order of their names: empty for a free one."""
    return [path.read_bytes().removesuffix(b"\n") for path in sorted(root.glob("*/*.call"))]


def ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


def a_line(name: str, text: str = "") -> bytes:
    """A line with the head of a record."""
    return f'{{"type":"completion","schema_version":1,"id":"{name}","prompt":"{text}"}}'.encode()


def segments(root: Path) -> list[Path]:
    """The segments of all directories, in the order of their names."""
    return sorted(filter(is_segment, root.glob("*/*")), key=lambda path: path.name)


def open_files(root: Path) -> list[Path]:
    """The segments that this process has open."""
    needs_proc()
    files = [Path(file).resolve() for file in Path("/proc/self/fd").iterdir()]
    return [path for path in segments(root) if path in files]


def stored(root: Path) -> Counter[bytes]:
    """Every complete record in any directory, and how often it is stored."""
    found: Counter[bytes] = Counter()
    for path in segments(root):
        found.update(map(bytes, Segment(path, 0, 0).lines()[0]))
    return found


def adopted_by_next(root: Path) -> list[bytes]:
    """The records that a process starting now adopts, in the order it would send them."""
    owner = Owner(root)
    owner.adopt()
    try:
        return owner.drain()
    finally:
        owner.close()


@contextmanager
def child(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code` with `Owner`, `a_line` and the arguments in `sys.argv`; killed at the end."""
    start = "import os, sys\nfrom pathlib import Path\nfrom tests.exporters.owner import Owner, a_line\n"
    command = [*prefix, sys.executable, "-c", start + code, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)
        process.stdin.close()
        process.stdout.close()
