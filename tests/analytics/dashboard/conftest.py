"""A page over the twelve calls that can be counted by hand."""

from collections.abc import Iterator

import pytest

from tests.analytics import fixture
from tests.analytics.dashboard.serving import Dashboard


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Its table stays as it is."""
    table = tmp_path_factory.mktemp("dashboard")
    fixture.write(table)
    with Dashboard(table, "--app-insights", "/subscriptions/s/x y") as running:
        yield running
