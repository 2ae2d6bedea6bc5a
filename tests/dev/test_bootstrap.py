"""`make` on a machine without Python 3.13: uv provides it, or one message says what to install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("sh", "make", "grep", "sed", "rm", "mkdir", "touch", "cat")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def run_make(folder: Path, *lines: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run this project's `make .venv` in a folder, with only these programs on PATH, given as shell scripts."""
    path = folder / "path"
    path.mkdir()
    for command in COMMANDS:
        (path / command).symlink_to(str(shutil.which(command)))
    for name, script in programs.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    for name in ("Makefile", "requirements-dev.txt"):
        shutil.copy(ROOT / name, folder)
    environ = {"PATH": str(path), "HOME": str(folder)}
    return subprocess.run(
        ["make", ".venv", *lines],
        cwd=folder,
        env=environ,
        executable=shutil.which("make"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


OLD = "exit 1"
PYTHON_WITH_PIP = """
case "$*" in
  "-m venv .cache/uv") mkdir -p .cache/uv/bin; cat > .cache/uv/bin/python <<'END'
#!/bin/sh
echo "$*" >> pip.log
cat > .cache/uv/bin/uv <<'UV'
#!/bin/sh
echo "$*" >> uv.log
mkdir -p .venv
UV
chmod +x .cache/uv/bin/uv
END
  chmod +x .cache/uv/bin/python ;;
  *) exit 1 ;;
esac
"""


def with_chmod(script: str) -> str:
    return script.replace("chmod", str(shutil.which("chmod")))


def test_uv_is_installed_from_pypi_and_provides_python(tmp_path: Path) -> None:
    """With only some python3, the pinned uv is installed into a folder of its own and provides Python 3.13."""
    done = run_make(tmp_path, python3=with_chmod(PYTHON_WITH_PIP))
    assert done.returncode == 0, done.stderr
    (pin,) = [line for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if line.startswith("uv==")]
    assert (tmp_path / "pip.log").read_text().strip().endswith(pin)
    assert (tmp_path / "uv.log").read_text() == "venv -q --seed --python 3.13 .venv\n"


def test_a_uv_on_path_is_used(tmp_path: Path) -> None:
    """Nothing is downloaded if uv is installed."""
    done = run_make(tmp_path, python3=OLD, uv='echo "$*" >> uv.log; mkdir -p .venv')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "uv.log").read_text() == "venv -q --seed --python 3.13 .venv\n"
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize("programs", [{}, {"python3": OLD}, {"python3": OLD, "uv": "exit 2"}])
def test_one_message_says_what_to_install(tmp_path: Path, programs: dict[str, str]) -> None:
    """Without a network, or without python3 and uv, the message lists the options; no partial .venv is left."""
    done = run_make(tmp_path, **programs)
    assert done.returncode != 0
    assert "Python 3.13 is needed" in done.stderr
    assert "apt install python3.13" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_interpreter_can_be_chosen(tmp_path: Path) -> None:
    """PYTHON= takes any interpreter."""
    done = run_make(tmp_path, f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr
    assert os.access(tmp_path / ".venv/bin/python", os.X_OK)
