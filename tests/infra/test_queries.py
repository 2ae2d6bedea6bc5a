"""The queries in docs/queries and the workbook generated from them: valid KQL, over data that really arrives.

Microsoft's parser checks them against the tables. What it cannot know, the keys of dynamic columns and the names of
metrics and events, is compared with what Azure's exporter sends to a stand-in for ingestion.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from infra.workbook.fill import PARAMETERS, QUERIES, WORKBOOK, queried
from otel import attributes as a
from otel.azure_exporter import monitor_span_exporter
from otel.azure_monitor import QUIET
from otel.call import Answer, Attempt, Call, Request, Status, Usage
from otel.metrics import CallMetrics, ProxyCounts, observe_proxy
from otel.outbox import Outbox
from otel.provider import make_provider
from otel.scrub import Scrub
from otel.span import CallSpan
from tests.infra.kusto.parser import PINNED, Report, parse
from tests.kit import npm
from tests.kit.ingestion import Ingestion

FILES = {path.stem: path.read_text() for path in sorted(QUERIES.glob("*.kql"))}
BOOK: dict[str, Any] = json.loads(WORKBOOK.read_text())
STEPS = dict(queried(BOOK["items"]))

TABLES = {
    "RequestData": "requests",
    "RemoteDependencyData": "dependencies",
    "MessageData": "traces",
    "MetricData": "customMetrics",
}
PORTAL = {
    "{TimeRange:grain}": "5m",
    "{Region}": "'Sweden Central','East US 2'",
    "{Deployment}": "'*'",
    "{Trace}": "7443172185796075a1c4ac88139b6cab",
}
"""The portal's values for the workbook's parameters."""


class Emitted:
    """The names in the telemetry that Application Insights receives."""

    def __init__(self, ingestion: Ingestion) -> None:
        self.keys: dict[tuple[str, str], set[str]] = defaultdict(set)
        """By table and dynamic column."""
        for envelope in ingestion.envelopes():
            table = TABLES[envelope.kind]
            self.keys[table, "customDimensions"] |= envelope.properties.keys()
            self.keys[table, "customMeasurements"] |= envelope.measurements.keys()
        self.metrics = {envelope.metric for envelope in ingestion.envelopes("MetricData")}
        self.events = {envelope.base["message"] for envelope in ingestion.envelopes("MessageData")}


@pytest.fixture(scope="module")
def emitted() -> Iterator[Emitted]:
    """The telemetry of one call with every attribute, and one reading of the metrics."""
    ingestion = Ingestion()
    with pytest.MonkeyPatch.context() as environ:
        for name, value in QUIET.items():
            environ.setenv(name, value)
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

        to = {"connection_string": ingestion.conn_str, "disable_offline_storage": True}
        reader = PeriodicExportingMetricReader(AzureMonitorMetricExporter(**to), export_interval_millis=600_000)
        meters = MeterProvider([reader], shutdown_on_exit=False)
        calls, outbox = CallMetrics(caller=True), Outbox(Scrub(caller=True), lambda reason, spans: None)
        outbox.add(monitor_span_exporter(to))
        meter, one = meters.get_meter(a.SCOPE), {"any": 1}
        calls.use(meter)
        observe_proxy(meter, lambda: ProxyCounts(1, 1, 1, 1.0, 1, one, one, 1.0, 1, 1), lambda: one)
        tracer = make_provider([calls, outbox], ALWAYS_ON).get_tracer(a.SCOPE)
        CallSpan(tracer, _call_with_everything()).finish()
        outbox.begin_stop()
        outbox.end_stop(20)
        meters.shutdown()
    yield Emitted(ingestion)
    ingestion.close()


def _call_with_everything() -> Call:
    call = Call(
        "chat",
        api_type="chat_completions",
        deployment="gpt-4o",
        api_version="2024-10-21",
        request=Request(model="gpt-4o", stream=True),
        caller=dict.fromkeys(("subscription_id", "product", "user_id", "app_id", "object_id", "session_id"), "someone"),
        backend="first",
        region="Sweden Central",
        http_status=200,
        chunks=2,
    )
    call.first_chunk_ns = call.first_token_ns = call.end_ns = call.arrived_ns + 1
    call.attempts.append(Attempt("first", call.arrived_ns, 200))
    details = {"prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 1}}
    call.answer = Answer(model="gpt-4o-2024-11-20", usage=Usage(1, 1, 2, details), usage_source="reported")
    call.fail(Status.UPSTREAM_CUT, "stream_incomplete", "the stream ended before its last event")
    return call


def without_comments(query: str) -> str:
    return re.sub(r"//.*", "", query)


def readings(query: str) -> Iterator[tuple[list[str], str]]:
    """The tables that a query reads, one or a union of several, each with the text up to the next."""
    code = without_comments(query)
    table = rf"\b(?:{'|'.join(TABLES.values())}|exceptions)\b"
    starts = list(re.finditer(rf"{table}(?:\s*,\s*{table})*", code))
    ends = [start.start() for start in starts[1:]] + [len(code)]
    for start, end in zip(starts, ends, strict=True):
        yield re.findall(r"\w+", start[0]), code[start.end() : end]


def assert_sent(query: str, emitted: Emitted) -> None:
    """The proxy sends every key of a dynamic column, metric, event and status in a query."""
    for tables, text in readings(query):
        for column, key in re.findall(r'\b(customDimensions|customMeasurements)\b(?:\["([^"]*)"\])?', text):
            assert any(key in emitted.keys[table, column] for table in tables), f"{column}[{key}] of {tables}"
    code = without_comments(query)
    for column, known in {"message": emitted.events, "name": emitted.metrics, "status": set(Status)}.items():
        for words in re.findall(rf'\b{column} (?:==|!=|!?in) (\(.*?\)|".*?")', code):
            assert set(re.findall(r'"(.*?)"', words)) <= known


@pytest.mark.parametrize("name", FILES)
def test_queries_start_with_a_question(name: str) -> None:
    """And docs/queries/README.md links to each."""
    assert re.match(r"// [A-Z].*\?\n", FILES[name])
    assert f"({name}.kql)" in (QUERIES / "README.md").read_text()


@pytest.mark.parametrize("name", FILES)
def test_aggregates_are_weighted(name: str) -> None:
    """No aggregate counts a row of a sampled table, or of a metric, as one call."""
    code = without_comments(FILES[name])
    assert not re.search(r"\b(count|countif|dcount|avg|avgif|percentiles?)\(", code)
    weight = "itemCount|valueSum|valueCount"
    weighted = "|".join([weight, *re.findall(rf"(\w+) = .*\b(?:{weight})\b", code)])
    for aggregate in re.findall(r"\b(?:sum|sumif|percentilew|percentilesw)\([^()]*", code):
        assert re.search(rf"\b({weighted})\b", aggregate), aggregate


@pytest.mark.parametrize("name", FILES)
def test_queries_ask_for_what_is_sent(name: str, emitted: Emitted) -> None:
    """The proxy sends every key of a dynamic column, metric, event and status in a query."""
    assert_sent(FILES[name], emitted)


@pytest.mark.parametrize("name", STEPS)
def test_the_workbook_has_the_files_queries(name: str) -> None:
    """Each step has the query of the file with its name, with parameters in place of constants."""
    constants = dict(re.findall(r"^let (\w+) = (.*);$", FILES[name], re.MULTILINE))
    query: str = STEPS[name]["query"]
    for constant, parameter in PARAMETERS.items():
        query = query.replace(f"let {constant} = {parameter};", f"let {constant} = {constants.get(constant)};")
    assert query == FILES[name], "run infra/workbook/fill.py"


def test_the_workbook_is_consistent() -> None:
    """It is a Notebook/1.0, its steps have titles and unique names, and all parameters are declared."""
    assert BOOK["version"] == "Notebook/1.0"
    items = list(_all_items(BOOK["items"]))
    names = [item["name"] for item in items]
    assert len(names) == len(set(names))
    versions = {3: "KqlItem/1.0", 9: "KqlParameterItem/1.0", 12: "NotebookGroup/1.0"}
    declared = set()
    for item in items:
        kind, content = item["type"], item["content"]
        assert content.get("version") == versions.get(kind)
        assert content["json"] if kind == 1 else kind == 9 or content["title"]
        declared |= {parameter["name"] for parameter in content.get("parameters", [])}
        declared |= {exported["parameterName"] for exported in content.get("exportedParameters", [])}
    for place in STEPS.values():
        assert place["timeContextFromParameter"] in declared
        assert place["resourceType"] == "microsoft.insights/components"
        assert set(re.findall(r"\{(\w+)(?::\w+)?\}", place["query"])) <= declared
    ids = [parameter["id"] for item in items for parameter in item["content"].get("parameters", [])]
    assert len(ids) == len(set(ids))


def test_the_promised_views_exist() -> None:
    """The workbook has the views for operators, and the slowest calls link to their transaction."""
    promised = {"calls-and-errors", "latency", "tokens-by-model", "tokens-by-caller", "outcomes", "slowest-calls"}
    assert promised | {"losses", "spool-backlog", "active-streams"} <= STEPS.keys()
    formats = STEPS["slowest-calls"]["gridSettings"]["formatters"]
    links = {each["columnMatch"]: each.get("formatOptions", {}).get("linkTarget") for each in formats}
    assert links["itemId"] == "DependencyDetails"
    assert "PROXY_TRACE_CALLER=true" in json.dumps(BOOK)


def test_the_parser_is_pinned() -> None:
    """One exact version, by hash, from the public registry only."""
    (wanted,) = json.loads((PINNED / "package.json").read_text())["dependencies"].items()
    lock = (PINNED / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]
    assert packages.pop("")["dependencies"] == dict([wanted])
    assert {name: each["version"] for name, each in packages.items()} == {f"node_modules/{wanted[0]}": wanted[1]}
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert set(re.findall(r"https?://([^/\"]+)", lock)) <= {"registry.npmjs.org"}


def _all_items(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        yield item
        yield from _all_items(item["content"].get("items", []))


@pytest.fixture(scope="module")
def report() -> Report:
    """The parser's report on every file, every query of the workbook as the portal sends it, and invalid ones."""
    queries = {f"{name}.kql": query for name, query in FILES.items()}
    for name, place in STEPS.items():
        queries[name] = re.sub(r"\{\w+(:\w+)?\}", lambda found: PORTAL[found[0]], place["query"])
    with npm.needed_for("the parser of KQL"):
        return parse(queries | WRONG)


WRONG = {
    "KS142": "dependencies | where timestmp > ago(1h)",
    "KS204": "dependancies | take 1",
    "KS211": "dependencies | summarize totl(itemCount)",
    "KS176": "dependencies | sumarize sum(itemCount)",
}
"""By the error of each."""


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [*(f"{name}.kql" for name in FILES), *STEPS])
def test_queries_are_valid(name: str, report: Report) -> None:
    """Microsoft's parser finds no errors against the tables and columns."""
    assert report[name]["faults"] == []


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("code", WRONG)
def test_an_invalid_query_is_detected(code: str, report: Report) -> None:
    """An unknown column, table, function or operator is an error."""
    assert code in {fault["code"] for fault in report[code]["faults"]}


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", STEPS)
def test_the_workbook_formats_existing_columns(name: str, report: Report) -> None:
    """Every column that a step formats, labels or exports is in its query's result."""
    columns, place = set(report[name]["columns"]), STEPS[name]
    grid = place.get("gridSettings", {})
    named = {column for each in grid.get("formatters", []) for column in each["columnMatch"].split("|")}
    named |= {each["columnId"] for each in grid.get("labelSettings", [])}
    named |= {each["fieldName"] for each in place.get("exportedParameters", [])}
    assert named <= columns
