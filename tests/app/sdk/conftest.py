"""A proxy in front of the simulator."""

from typing import Any

import pytest

from tests.kit.proxy import ProxyThread


@pytest.fixture
def running(azure: str, proxy: Any) -> ProxyThread:
    started: ProxyThread = proxy(azure)
    return started
