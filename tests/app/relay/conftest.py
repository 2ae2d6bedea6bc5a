"""A proxy with several backends."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.relay.several import Proxied
from tests.kit.wire import Client, client


@pytest.fixture
def proxied(upstream: Any, proxy: Any) -> Proxied:
    return Proxied(upstream, proxy)


@pytest.fixture
def caller(proxied: Proxied) -> Iterator[Client]:
    with client(proxied.url) as connected:
        yield connected
