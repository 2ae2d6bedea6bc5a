"""The doctor: what it says of a deployment that works, and of one whose streams are held back."""

import asyncio
import functools
import http.client
import json
import subprocess
import sys
from typing import Any

import pytest

from app.doctor.__main__ import main
from tests.app.doctor.conftest import Examine
from tests.app.doctor.patient import CONTENT, EVENTS, model
from tests.kit.hub import ROOT, Broker
from tests.kit.upstream import Reply
from tests.kit.upstream import Seen as Request


def test_a_deployment_that_works(upstream: Any, proxy: Any, broker: Broker, examine: Examine) -> None:
    """Everything is well: exit status 0, and what an operator wants to know of health, keys, calls and records."""
    slow = functools.partial(
        model, seconds=0.05
    )  # the client may take its time as well, and still sees them one by one
    found = examine(proxy(upstream(slow).url).url, "--hub-conn-str", broker.conn_str)
    assert {word for word, _, _ in found.lines} == {"ok"}, found.said
    assert [check for _, check, _ in found.lines] == [
        "reachable",
        "ready",
        "keys",
        "call",
        "call",
        "stream",
        "stream",
        "one by one",
        "records",
        "records",
    ]
    assert "0 records wait" in found.of("ready")
    assert "refused (401)" in found.of("keys")
    assert "gpt-4.1-mini-2025-04-14 answered after" in found.of("call")
    assert "12 + 7 tokens" in found.of("call")
    assert "region East US 2" in found.of("stream")
    assert "first token after" in found.of("stream")
    assert f"{len(CONTENT)} chunks arrived" in found.of("one by one")
    assert found.of("records").count("says the same, usage reported") == 2
    assert found.said.endswith("Everything works.\n")
    assert found.status == 0
    assert broker.conn_str not in found.said


def holding(url: str) -> Any:
    """A gateway that holds every answer until it is whole."""

    def ask(request: Request) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
        headers = {name: value for name, value in request.headers if name.lower() != "host"}
        connection.request(request.method, request.target, request.body, headers)
        answer = connection.getresponse()
        body = answer.read()
        passing = {name: value for name, value in answer.getheaders() if name != "transfer-encoding"}
        connection.close()
        return answer.status, passing | {"content-length": str(len(body))}, body

    async def script(request: Request, reply: Reply) -> None:
        status, headers, body = await asyncio.to_thread(ask, request)
        await reply.head(status, headers)
        await reply.raw(body)

    return script


def test_a_gateway_that_holds_streams_back(upstream: Any, proxy: Any, broker: Broker, examine: Examine) -> None:
    """Chunks that come all at once are a failure, and the record tells on which side of the proxy they were held."""
    slow = functools.partial(model, seconds=0.05)
    gateway = upstream(holding(proxy(upstream(slow).url).url))
    found = examine(gateway.url, "--hub-conn-str", broker.conn_str)
    assert f"FAIL all {len(CONTENT)} chunks came at once" in found.of("one by one")
    assert 'buffer-response="false"' in found.of("one by one")
    assert "what holds it stands before the proxy" in found.of("one by one")
    assert found.words("records") == ["ok", "ok"]
    assert found.status == 1
    assert found.said.endswith("1 check failed.\n")


def test_a_model_that_speaks_in_lots(upstream: Any, proxy: Any, examine: Examine) -> None:
    """Some chunks at a time, as the content filter lets them go, is told and is no failure."""

    async def script(request: Request, reply: Reply) -> None:
        if not request.body or not json.loads(request.body).get("stream"):
            await model(request, reply)
            return
        await reply.stream_head()
        for start in range(0, len(EVENTS), 23):
            await reply.chunk(b"".join(EVENTS[start : start + 23]))
            await asyncio.sleep(0.1)
        await reply.end()

    found = examine(proxy(upstream(script).url).url)
    assert found.words("one by one") == ["note"]
    assert "lots within" in found.of("one by one")
    assert "not looked for" in found.of("records")
    assert found.status == 0


def test_it_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the openai package, which the proxy does not need, it says how to come by it."""
    monkeypatch.setitem(sys.modules, "openai", None)
    assert main(["http://127.0.0.1:1"]) == 1
    assert "pip install openai" in capsys.readouterr().err


def test_it_is_a_command(upstream: Any, proxy: Any, tmp_path: Any) -> None:
    """`python -m app.doctor URL` takes its key from the environment and ends with the status of its findings."""
    url = proxy(upstream(model).url).url
    ended = subprocess.run(
        [sys.executable, "-m", "app.doctor", url],
        cwd=ROOT,
        env={"PATH": "", "AZURE_OPENAI_API_KEY": "not-the-key", "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "1 check failed." in ended.stdout
    assert "not-the-key" not in ended.stdout
