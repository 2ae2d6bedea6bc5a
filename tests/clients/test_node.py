"""Node's clients and undici's pipelining through the proxy as directly against the simulator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.routes import Call, Routes
from tests.kit.hub import Record

pytestmark = pytest.mark.heavy

type Use = Callable[[str], tuple[list[Call], list[Record]]]


@pytest.fixture
def use(scripts: Path, routes: Routes) -> Use:
    """Run one use of calls.mjs over both routes."""
    return lambda name: routes.compare(lambda route: route.run(["node", str(scripts / "calls.mjs"), name]))


def test_fetch(use: Use) -> None:
    """`fetch`: JSON, a stream, a body in chunks and a form of 4 MB."""
    calls, records = use("fetch")
    assert [record["content"] for record in records] == [call.text for call in calls]
    assert [record["type"] for record in records].count("stream_completion") == 1
    assert records[3]["request_bytes"] > 4 << 20


def test_pipelining(use: Use) -> None:
    """undici writes ten calls, streams among them, before the first is answered: each gets the answer to its prompt."""
    calls, records = use("pipelining")
    assert [call.note for call in calls] == ["10"] * 10
    told = {record["prompt"][0]["content"]: record["content"] for record in records}
    assert told == {f"Call {number}": call.text for number, call in enumerate(calls)}


def test_an_agent_that_keeps_its_connection(use: Use) -> None:
    """`http.Agent` makes its later calls on the first connection."""
    calls, _ = use("agent")
    assert [call.note for call in calls] == ["false", "true", "true"]


def test_http_1_0(use: Use) -> None:
    """HTTP/1.0 on a socket: the answer, a stream as well, is not in chunks and ends with the connection."""
    calls, _ = use("http10")
    assert [call.note for call in calls] == ["plain", "plain"]
