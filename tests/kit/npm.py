"""npm packages for tests: installed once into a cache, in the versions of a package-lock.json."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def installed(pinned: Path) -> Path:
    """The directory with the packages that `pinned` locks; raises OSError or SubprocessError without Node or npm."""
    subprocess.run(["node", "--version"], check=True, capture_output=True)
    cache = ROOT / ".cache" / pinned.name
    pins = [(pinned / name, cache / name) for name in ("package.json", "package-lock.json")]
    cache.parent.mkdir(exist_ok=True)
    with cache.with_name(f"{cache.name}.lock").open("w") as lock:  # released when closed
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all(used.exists() and pin.read_bytes() == used.read_bytes() for pin, used in pins):
            _install(cache, pins)
    return cache


def _install(cache: Path, pins: list[tuple[Path, Path]]) -> None:
    new = cache.with_name(f"{cache.name}-{os.getpid()}")
    new.mkdir(parents=True)
    try:
        for pin, _ in pins:
            shutil.copy(pin, new)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=new, check=True, timeout=600)
        shutil.rmtree(cache, ignore_errors=True)
        new.rename(cache)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Skip the tests if Node or npm is missing in the block; with CI=true, fail them."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as fault:
        missing = f"Node, npm and its registry are needed for {what}: {fault}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
