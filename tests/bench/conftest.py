"""The benchmark pins processes to processors, which needs Linux: elsewhere it refuses, and its tests are skipped."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEED_LINUX = {"test_hub.py", "test_process.py", "test_tools.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if item.path.parent == HERE and item.path.name in NEED_LINUX:
                item.add_marker(pytest.mark.skip(reason=f"the benchmark needs Linux; this is {sys.platform}"))
