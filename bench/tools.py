"""The C programs, compiled on first use: the mock upstream and the load generator."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
CACHE: Final = ROOT / ".cache" / "bench"
_SOURCES: Final = Path(__file__).parent / "c"


class Missing(Exception):
    """A tool that the benchmark needs is missing; the message says what to install."""


def compiled(name: str) -> Path:
    """Return the program compiled from `c/NAME.c`. Raises Missing without a compiler."""
    program = CACHE / name
    newest = max(path.stat().st_mtime for path in _SOURCES.iterdir())
    if not program.exists() or program.stat().st_mtime < newest:
        compiler = found("cc", "a C compiler: apt install gcc libc6-dev")
        CACHE.mkdir(parents=True, exist_ok=True)
        options = ["-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([compiler, *options, "-o", program, _SOURCES / f"{name}.c"], check=True)
    return program


def found(program: str, what: str) -> str:
    """Return the path of a program. Raises Missing, naming `what` to install."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Missing(f"The benchmark needs {what}.")
    return path
