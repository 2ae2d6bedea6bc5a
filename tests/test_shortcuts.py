"""What uses the internals of a dependency goes the public way when those have changed, with the same results."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import environ
from tests.kit.altered import AGGREGATIONS, ALTERATIONS, ENVELOPES, HEADERS
from tests.kit.hub import Broker, HubReader, Record, wait_until
from tests.kit.ingestion import Ingestion
from tests.kit.otlp import Collector, attributes
from tests.kit.proxy import ProxyProcess, closing_all
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import AZURE_HEADERS, CHAT, STREAM_WITH_USAGE, chat_body, chat_json, client

LARGE = json.dumps({"messages": [{"role": "user", "content": "a long prompt " * 20_000}]}).encode()
"""Its record takes several frames."""
OF_ONE_CALL = {"id", "trace_id", "span_id", "timestamp", "started_at"}

type Start = Callable[..., ProxyProcess]


async def answer(request: Seen, reply: Reply) -> None:
    """A stream, an error or a completion, as the request's `x-case` says."""
    match request.header("x-case"):
        case "stream":
            await reply.stream_head(**AZURE_HEADERS)
            for one in STREAM_WITH_USAGE:
                await reply.chunk(one)
            await reply.end()
        case "busy":
            await reply.json(b'{"error": {"code": "429", "message": "slow down"}}', 429, AZURE_HEADERS)
        case _:
            await reply.json(chat_json(), headers=AZURE_HEADERS)


@pytest.fixture(scope="module")
def azure_openai() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(answer) as server:
        yield server
    assert not server.failures, server.failures


@pytest.fixture(scope="module")
def start(
    broker: Broker,
    azure_openai: ScriptedUpstream,
    ingestion: Ingestion,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Start]:
    """Start a proxy that sends everything there is to send: `start("--option", NAME="value")`."""
    with closing_all() as started:

        def start(*arguments: str, **more: str) -> ProxyProcess:
            sending = {
                "APPLICATIONINSIGHTS_CONNECTION_STRING": ingestion.conn_str,
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_BSP_SCHEDULE_DELAY": "50",
                "OTEL_METRIC_EXPORT_INTERVAL": "300",
            }
            spool = tmp_path_factory.mktemp("proxy") / "spool"
            settings = environ(azure_openai.url, broker.conn_str, spool, **sending, **more)
            running = ProxyProcess(settings, *arguments)
            started.append(running)
            return running.wait_started()

        yield start


def off(proxy: ProxyProcess) -> dict[str, str]:
    with client(proxy.url) as caller:
        found: dict[str, str] = json.loads(caller.send("GET", "/health/ready").read())["shortcuts_off"]
    return found


def said(proxy: ProxyProcess) -> list[dict[str, Any]]:
    """The lines of its log about dependencies."""
    return [json.loads(line) for line in proxy.output if "a dependency has changed" in line]


def made(proxy: ProxyProcess, hub: HubReader) -> list[Record]:
    """The records of a completion, a stream, an error and a large call, without what is of one call alone."""
    calls = (("", chat_body()), ("stream", chat_body(stream=True)), ("busy", chat_body()), ("", LARGE))
    traces = []
    with client(proxy.url) as caller:
        for case, body in calls:
            answered = caller.send("POST", CHAT, body, x_case=case)
            answered.read()
            traces.append(answered.trace_id)
    return [
        {name: value for name, value in hub.record(trace).items() if name not in OF_ONE_CALL and "_ms" not in name}
        for trace in traces
    ]


@pytest.fixture(scope="module")
def expected(start: Start, hub: HubReader) -> list[Record]:
    """The records of a proxy whose dependencies are those that are pinned."""
    proxy = start()
    assert off(proxy) == {}
    assert said(proxy) == []
    return made(proxy, hub)


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=str)
def test_a_changed_dependency_is_told_and_harms_no_record(
    alteration: Any, start: Start, hub: HubReader, expected: list[Record]
) -> None:
    """/health/ready and one line of the log name what goes the public way; records are those of any other proxy."""
    proxy = start(**alteration.environ)
    assert list(off(proxy)) == [alteration.shortcut]
    (line,) = said(proxy)
    assert line["level"] == "WARNING"
    assert f"{alteration.shortcut} go the public way" in line["message"]
    assert line["message"].endswith(off(proxy)[alteration.shortcut])
    assert made(proxy, hub) == expected
    proxy.signal(signal.SIGTERM)
    assert proxy.wait_in_time(10) == -signal.SIGTERM


def measured(collector: Collector, name: str, service: str) -> list[tuple[int, str]]:
    """How many values were counted at last, for calls of which outcome."""
    (*_, last) = collector.metrics(f"gen_ai.client.{name}", service) or [None]
    points = last.histogram.data_points if last else []
    return sorted((point.count, str(attributes(point)["proxy.status"])) for point in points)


@pytest.mark.parametrize("environment", [{}, AGGREGATIONS.environ], ids=["direct", "public"])
def test_calls_are_measured_both_ways(
    environment: dict[str, str], start: Start, hub: HubReader, collector: Collector
) -> None:
    """A collector is told once of each call and of the tokens it took and brought, first calls and those after."""
    service = f"measured-{len(environment)}"
    proxy = start(OTEL_SERVICE_NAME=service, **environment)
    made(proxy, hub)
    made(proxy, hub)
    expected = {
        "operation.duration": [(2, "upstream_error"), (6, "completed")],
        "token.usage": [(6, "completed")] * 2,
        "operation.time_to_first_chunk": [(2, "completed")],
    }
    for name, counts in expected.items():
        wait_until(lambda name=name, counts=counts: measured(collector, name, service) == counts, 20)


@pytest.mark.parametrize(("environment", "code"), [({}, "429"), (ENVELOPES.environ, "0")], ids=["direct", "public"])
def test_application_insights_lacks_only_result_codes(
    environment: dict[str, str], code: str, start: Start, ingestion: Ingestion
) -> None:
    """A call is a failed dependency under a request that Application Insights counts, with or without its code."""
    proxy = start(PROXY_TRACE_RATIO="1", **environment)
    with client(proxy.url) as caller:
        answered = caller.send("POST", CHAT, chat_body(), x_case="busy")
        answered.read()
    (dependency,) = [each for each in ingestion.trace(answered.trace_id) if each.kind == "RemoteDependencyData"]
    (request,) = [each for each in ingestion.trace(answered.trace_id) if each.kind == "RequestData"]
    assert (dependency.base["resultCode"], dependency.base["success"]) == (code, False)
    assert "_MS.ProcessedByMetricExtractors" not in request.properties
    assert request.base["name"] == "POST /openai/deployments/{}/chat/completions"


@pytest.mark.parametrize("options", [(), ("--no-date-header", "--no-server-header")], ids=["", "by options"])
def test_uvicorns_own_headers_are_for_its_options_to_leave_off(options: tuple[str, ...], start: Start) -> None:
    """With them an answer has upstream's date alone, as it always has where uvicorn is known."""
    proxy = start(*options, **HEADERS.environ)
    with client(proxy.url) as caller:
        answered = caller.chat()
        dates = [value for name, value in answered.headers if name.lower() == "date"]
    assert dates[-1] == AZURE_HEADERS["Date"]
    assert len(dates) == (1 if options else 2)
