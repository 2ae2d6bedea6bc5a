"""What only Linux tells: tests that need it are skipped elsewhere, by name."""

import os
import shutil
import subprocess
import sys

import pytest


def needs_proc() -> None:
    """Skip the test that runs where there is no /proc to read a process's memory, files or sockets from."""
    if sys.platform != "linux":
        pytest.skip(f"reads /proc, which {sys.platform} does not have")


def mount_namespace() -> tuple[str, ...]:
    """What to put before a command so that it may mount disks of its own; skips the test where that is not allowed."""
    namespace = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-rm")
    mount = ("mount", "-t", "tmpfs", "x", "/mnt")
    if shutil.which("unshare") is None or subprocess.run([*namespace, *mount], check=False).returncode:
        reason = "no small disk can be mounted here: it takes root or user namespaces"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return namespace
