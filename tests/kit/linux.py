"""What only Linux tells: tests that need it are skipped elsewhere, by name."""

import sys

import pytest


def needs_proc() -> None:
    """Skip the test that runs where there is no /proc to read a process's memory, files or sockets from."""
    if sys.platform != "linux":
        pytest.skip(f"reads /proc, which {sys.platform} does not have")
