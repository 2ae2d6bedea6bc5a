"""A service for sessions, and a proxy in front of it."""

from collections.abc import Iterator

import pytest

from tests.app.sessions.service import Service


async def _nothing(connection: object) -> None:
    """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that says nothing until a test gives it a script."""
    running = Service(_nothing)
    yield running
    running.close()
