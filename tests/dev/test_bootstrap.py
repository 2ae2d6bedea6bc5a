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


def made(folder: Path, *lines: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """`make .venv` of this project in a folder, where PATH has only these programs, each a shell script."""
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


def test_uv_comes_from_pypi_and_provides_python(tmp_path: Path) -> None:
    """With some python3 alone, the pinned uv is installed into a folder of its own, and asked for Python 3.13."""
    ended = made(tmp_path, python3=with_chmod(PYTHON_WITH_PIP))
    assert ended.returncode == 0, ended.stderr
    (pin,) = [line for line in (ROOT / "requirements-dev.txt").read_text().splitlines() if line.startswith("uv==")]
    assert (tmp_path / "pip.log").read_text().strip().endswith(pin)
    assert (tmp_path / "uv.log").read_text() == "venv -q --seed --python 3.13 .venv\n"


def test_a_uv_on_path_is_used(tmp_path: Path) -> None:
    """Nothing is downloaded where uv is there already."""
    ended = made(tmp_path, python3=OLD, uv='echo "$*" >> uv.log; mkdir -p .venv')
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "uv.log").read_text() == "venv -q --seed --python 3.13 .venv\n"
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize("programs", [{}, {"python3": OLD}, {"python3": OLD, "uv": "exit 2"}])
def test_one_message_says_what_to_install(tmp_path: Path, programs: dict[str, str]) -> None:
    """Without a network, or without anything to begin with, the message names the ways; nothing half made is left."""
    ended = made(tmp_path, **programs)
    assert ended.returncode != 0
    assert "Python 3.13 is needed" in ended.stderr
    assert "apt install python3.13" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / ".venv").exists()


def test_another_python_can_be_named(tmp_path: Path) -> None:
    """PYTHON= takes an interpreter that the default would not."""
    ended = made(tmp_path, f"PYTHON={sys.executable}")
    assert ended.returncode == 0, ended.stderr
    assert os.access(tmp_path / ".venv/bin/python", os.X_OK)
