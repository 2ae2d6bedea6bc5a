"""The alarms: queries over metrics that the proxy really sends, in rules that would fire, each explained."""

import re

import pytest

from otel.call import Status
from tests.infra.bicep import INFRA, Template
from tests.infra.environment import OPERATIONS
from tests.infra.kusto.parser import Report, parse
from tests.infra.test_queries import Emitted, emitted, readings, without_comments
from tests.kit import npm

__all__ = ["emitted"]  # the fixture

QUERIES = {path.stem: path.read_text() for path in sorted((INFRA / "alarms").glob("*.kql"))}
BICEP = Template(INFRA / "alarms.bicep")
METRICS = {
    "records-lost": "proxy.records.lost",
    "backlog-age": "proxy.spool.age",
    "error-share": "gen_ai.client.operation.duration",
    "first-chunk": "gen_ai.client.operation.time_to_first_chunk",
}


@pytest.mark.parametrize("name", METRICS)
def test_an_alarm_looks_at_what_is_sent(name: str, emitted: Emitted) -> None:
    """Its metric, and each key it looks at, is one that leaves the proxy for Application Insights."""
    code = without_comments(QUERIES[name])
    assert re.findall(r'\bname == "([^"]+)"', code) == [METRICS[name]]
    assert METRICS[name] in emitted.metrics
    ((tables, text),) = readings(QUERIES[name])
    assert tables == ["customMetrics"]
    assert set(re.findall(r'customDimensions\["([^"]*)"\]', text)) <= emitted.keys["customMetrics", "customDimensions"]
    for words in re.findall(r"\bstatus in (\(.*?\))", code):
        assert set(re.findall(r'"(.*?)"', words)) <= set(Status)


def test_there_is_a_rule_for_each() -> None:
    """Each query is in one rule, which fires when its column `value` is above a threshold of the metric's own unit."""
    rules = {alarm["name"]: alarm for alarm in BICEP.variables["alarms"]}
    assert set(rules) == set(QUERIES) == set(METRICS)
    assert {name: rule["threshold"] for name, rule in rules.items()} == {
        "records-lost": 0,
        "backlog-age": 300,
        "error-share": 10,
        "first-chunk": 5,
    }
    for name, rule in rules.items():
        assert f"loadTextContent('alarms/{name}.kql')" in BICEP.text
        assert str(rule["threshold"]) in rule["title"] or rule["threshold"] == 0
    (criterion,) = BICEP.resources["rules"].body["properties"]["criteria"]["allOf"]
    assert (criterion["metricMeasureColumn"], criterion["operator"]) == ("value", "GreaterThan")


@pytest.mark.parametrize("name", METRICS)
def test_an_alarm_says_what_to_do(name: str) -> None:
    """docs/operations.md has a row for it, and every query that the row points to is there."""
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
def test_an_alarms_query_is_valid(name: str, report: Report) -> None:
    """Microsoft's parser finds no fault in it, and its one column is the one that the rule measures."""
    assert report[name]["faults"] == []
    assert report[name]["columns"] == ["value"]
