"""The alarms: queries over metrics that the proxy really sends, valid rules, and documentation."""

import re

import pytest

from tests.infra.deployed import INFRA, deployed
from tests.infra.environment import OPERATIONS
from tests.infra.kusto.parser import Report, parse
from tests.infra.test_queries import Emitted, assert_sent, emitted, readings, without_comments
from tests.kit import npm

__all__ = ["emitted"]  # the fixture

QUERIES = {path.stem: path.read_text() for path in sorted((INFRA / "alarms").glob("*.kql"))}
METRICS = {
    "records-lost": "proxy.records.lost",
    "backlog-age": "proxy.spool.age",
    "error-share": "gen_ai.client.operation.duration",
    "first-chunk": "gen_ai.client.operation.time_to_first_chunk",
}


@pytest.mark.parametrize("name", METRICS)
def test_alarms_query_metrics_that_are_sent(name: str, emitted: Emitted) -> None:
    """The metric of each, and everything else it asks for, is exported to Application Insights."""
    assert re.findall(r'\bname == "([^"]+)"', without_comments(QUERIES[name])) == [METRICS[name]]
    assert [tables for tables, _ in readings(QUERIES[name])] == [["customMetrics"]]
    assert_sent(QUERIES[name], emitted)


def test_each_alarm_has_a_rule() -> None:
    """The rule runs the query, and fires when the column `value` is above the threshold that its title states."""
    made = deployed("plain").of_type("Microsoft.Insights/scheduledQueryRules")
    rules = {re.sub(r"^appi-[^-]+-", "", rule.name): rule.properties for rule in made}
    assert set(rules) == set(QUERIES) == set(METRICS)
    for name, rule in rules.items():
        (criterion,) = rule["criteria"]["allOf"]
        assert criterion["query"] == QUERIES[name]
        assert str(criterion["threshold"]) in rule["displayName"] or criterion["threshold"] == 0
        assert (criterion["metricMeasureColumn"], criterion["operator"]) == ("value", "GreaterThan")


@pytest.mark.parametrize("name", METRICS)
def test_alarms_are_documented(name: str) -> None:
    """docs/operations.md has a row for each, and every query that the row links to exists."""
    (row,) = [line for line in OPERATIONS.read_text().splitlines() if line.startswith(f"| `{name}`")]
    _, _, means, to_do, _ = row.split("|")
    assert len(means) > 40
    linked = re.findall(r"\]\(([^)#]+)\)", to_do)
    assert linked
    assert all((OPERATIONS.parent / path).is_file() for path in linked)


@pytest.fixture(scope="module")
def report() -> Report:
    with npm.needed_for("the parser of KQL"):
        return parse(QUERIES)


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", METRICS)
def test_alarm_queries_are_valid(name: str, report: Report) -> None:
    """Microsoft's parser finds no errors, and the only column is the one that the rule measures."""
    assert report[name]["faults"] == []
    assert report[name]["columns"] == ["value"]
