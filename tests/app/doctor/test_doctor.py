"""The doctor on a deployment that works, and on one that buffers streams."""

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
from tests.app.doctor.model import CONTENT, EVENTS, model
from tests.kit.hub import ROOT, Broker
from tests.kit.upstream import Reply
from tests.kit.upstream import Seen as Request


def test_a_working_deployment_passes_all_checks(upstream: Any, proxy: Any, broker: Broker, examine: Examine) -> None:
    """Exit status 0, and what an operator wants to know about health, keys, calls and records."""
    slow = functools.partial(model, seconds=0.05)  # even a slow client then receives the chunks one by one
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
    assert "0 records in the backlog" in found.of("ready")
    assert "refused (401)" in found.of("keys")
    assert "gpt-4.1-mini-2025-04-14 responded after" in found.of("call")
    assert "12 + 7 tokens" in found.of("call")
    assert "region East US 2" in found.of("stream")
    assert "first token after" in found.of("stream")
    assert f"{len(CONTENT)} chunks arrived in" in found.of("one by one")
    assert found.of("records").count("matches, usage reported") == 2
    assert found.said.endswith("Everything works.\n")
    assert found.status == 0
    assert broker.conn_str not in found.said


def buffering(url: str) -> Any:
    """A gateway that buffers every response until it is complete."""

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


def test_a_buffering_gateway_fails(upstream: Any, proxy: Any, broker: Broker, examine: Examine) -> None:
    """Chunks that arrive together are a failure; the record shows on which side of the proxy they were buffered."""
    slow = functools.partial(model, seconds=0.05)
    gateway = upstream(buffering(proxy(upstream(slow).url).url))
    found = examine(gateway.url, "--hub-conn-str", broker.conn_str)
    assert f"FAIL all {len(CONTENT)} chunks arrived together" in found.of("one by one")
    assert 'buffer-response="false"' in found.of("one by one")
    assert "the buffering is in front of the proxy" in found.of("one by one")
    assert found.words("records") == ["ok", "ok"]
    assert found.status == 1
    assert found.said.endswith("1 check failed.\n")


def test_batches_of_chunks_are_noted(upstream: Any, proxy: Any, examine: Examine) -> None:
    """Chunks in batches, as the content filter releases them, are noted and are no failure."""

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
    assert "batches within" in found.of("one by one")
    assert "not checked" in found.of("records")
    assert found.status == 0


def test_a_missing_openai_package_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the openai package, which the proxy does not need, it says how to install it."""
    monkeypatch.setitem(sys.modules, "openai", None)
    assert main(["http://127.0.0.1:1"]) == 1
    assert "pip install openai" in capsys.readouterr().err


def test_it_runs_from_the_command_line(upstream: Any, proxy: Any, tmp_path: Any) -> None:
    """`python -m app.doctor URL` takes its key from the environment and exits with 1 after a failure."""
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
