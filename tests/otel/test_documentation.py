"""docs/tracing.md names what is actually sent."""

import re
from pathlib import Path

from otel import attributes as a
from otel.azure_exporter import ELAPSED_MS
from otel.metrics import TOKEN_TYPE, ProxyCounts, observe_proxy
from tests.kit.hub import ROOT
from tests.otel.test_metrics import Measured, streamed

PAGE = ROOT / "docs/tracing.md"
TEXT = PAGE.read_text()


def metrics() -> set[str]:
    """The names of all metrics, of calls and of the proxy."""
    measured, one = Measured(), {"any": 1}
    observe_proxy(measured.meter, lambda: ProxyCounts(1, 1, 1, 1.0, 1, one, one, 1.0, 1, 1), lambda: one)
    measured.end(streamed())
    data = measured.reader.get_metrics_data()
    assert data is not None
    return {metric.name for of in data.resource_metrics for scope in of.scope_metrics for metric in scope.metrics}


def named() -> set[str]:
    """The names on the page, in full or as a name and suffixes: `proxy.latency_ms`, `.chunks`."""
    full: set[str] = set()
    for line in TEXT.splitlines():
        stem = ""
        for name in re.findall(r"`((?:proxy|gen_ai)\.[a-z_.]*[a-z]|\.[a-z_.]+[a-z])`", line):
            stem = stem if name.startswith(".") else name.rpartition(".")[0]
            full.add(stem + name if name.startswith(".") else name)
    return full


def test_the_page_names_what_exists() -> None:
    """Each attribute, event and metric that the page names exists, and each metric that exists is on the page."""
    known = {value for value in vars(a).values() if isinstance(value, str)} | {ELAPSED_MS, TOKEN_TYPE}
    assert named() - known - metrics() == set()
    assert metrics() - named() == set()


def test_links_to_files_resolve() -> None:
    """Each link to a file of this repository has a target."""
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not Path(PAGE.parent, link).exists()] == []
