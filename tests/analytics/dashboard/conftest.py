"""A dashboard over twelve calls, few enough to count by hand."""

from collections.abc import Iterator

import pytest

from tests.analytics import fixture
from tests.analytics.dashboard.serving import Dashboard


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """Tests do not change its table."""
    table = tmp_path_factory.mktemp("dashboard")
    fixture.write(table)
    with Dashboard(table, "--app-insights", "/subscriptions/s/x y") as running:
        yield running
