"""The doctor: what it says of a deployment that works, and of each way in which one does not."""

import asyncio
import functools
import http.client
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp.test_utils import unused_port

from app.doctor.__main__ import main
from app.doctor.records import differences, generated_over
from app.doctor.seen import Seen
from tests.conftest import environ
from tests.kit.hub import ROOT, Broker
from tests.kit.proxy import KEY
from tests.kit.upstream import Reply
from tests.kit.upstream import Seen as Request
from tests.kit.wire import AZURE_HEADERS, DONE, STOP, TEXT, USAGE, WORDS, chat_json, delta, event

CONTENT = [delta({"content": word}) for word in WORDS * 6]
EVENTS = [*CONTENT, STOP, event({"choices": [], "usage": USAGE}), DONE]


class Diagnosis:
    """What the doctor said, by its lines' words and checks; wrapped lines are joined."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        self.said = said
        self.lines: list[tuple[str, str, str]] = []
        for line in said.splitlines():
            if line.startswith(" " * 20):
                word, check, text = self.lines[-1]
                self.lines[-1] = (word, check, f"{text} {line.strip()}")
            elif line.startswith("  "):
                self.lines.append((line[2:8].strip(), line[8:20].strip(), line[20:]))

    def of(self, check: str) -> str:
        """Its lines about one check."""
        return "\n".join(f"{word} {text}" for word, name, text in self.lines if name == check)

    def words(self, check: str) -> list[str]:
        """How it judged one check."""
        return [word for word, name, _ in self.lines if name == check]


type Examine = Callable[..., Diagnosis]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Examine:
    """Run the doctor on an address, with a key in the environment."""
    for name in ("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_DEPLOYMENT", "AZURE_EVENTHUB_CONN_STR", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")

    def run(url: str, *arguments: str) -> Diagnosis:
        status = main([url, "--timeout", "20", *arguments])
        said = "".join(capsys.readouterr())
        assert KEY not in said
        assert "Traceback" not in said
        return Diagnosis(status, said)

    return run


async def model(request: Request, reply: Reply, seconds: float = 0.01) -> None:
    """Answers as a model does that takes a hundredth of a second, or so many, for a token."""
    if request.method == "GET":
        await reply.json(b'{"data":[]}')
    elif not json.loads(request.body).get("stream"):
        await reply.json(chat_json(), headers=AZURE_HEADERS)
    else:
        await reply.stream_head(**AZURE_HEADERS)
        for one in EVENTS:
            await asyncio.sleep(seconds)
            await reply.chunk(one)
        await reply.end()


def test_a_deployment_that_works(upstream: Any, proxy: Any, broker: Broker, examine: Examine) -> None:
    """Everything is well: exit status 0, and what an operator wants to know of health, keys, calls and records."""
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", broker.conn_str)
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
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
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


def test_a_key_that_is_not_let_in(upstream: Any, proxy: Any, examine: Examine) -> None:
    """A wrong key is a failure that says so, once, and does not repeat the key."""
    server = upstream(model)
    found = examine(proxy(server.url).url, "--key", "not-the-key")
    assert "401 Access denied" in found.of("call")
    assert found.of("stream") == ""
    assert (found.status, server.seen) == (1, [])
    assert "not-the-key" not in found.said


def test_a_door_that_is_open(upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """That anyone may call is told; to whom believes in a key, as a failure."""
    running = proxy(upstream(model).url, PROXY_CLIENT_KEYS="", PROXY_ALLOW_ANONYMOUS="true")
    assert "FAIL a wrong key is let in (200)" in examine(running.url).of("keys")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    found = examine(running.url)
    assert "note let in without a key (200)" in found.of("keys")
    assert found.status == 0


def test_another_header_for_the_key(upstream: Any, proxy: Any, examine: Examine) -> None:
    """--key-header puts the key where API Management or the Functions host wants it, and nowhere else."""

    async def host(request: Request, reply: Reply) -> None:
        assert request.header("api-key") in (None, "none")
        if request.target.startswith("/openai") and request.header("x-functions-key") != KEY:
            await reply.json(b"{}", 401)
        else:
            await model(request, reply)

    found = examine(upstream(host).url, "--key-header", "x-functions-key")
    assert "refused (401)" in found.of("keys")
    assert "answered after" in found.of("call")
    assert "FAIL no x-trace-id in the answer: this address leads past the proxy" in found.of("call")
    assert "not as this proxy does" in found.of("ready")


def test_nothing_at_the_address(examine: Examine) -> None:
    """No connection, and no URL at all, end the examination with a reason."""
    found = examine(f"http://127.0.0.1:{unused_port()}")
    assert [(word, check) for word, check, _ in found.lines] == [("FAIL", "reachable")]
    assert "refused" in found.of("reachable")
    assert found.status == 1
    assert examine("nonsense").status == 1


def test_something_else_at_the_address(upstream: Any, examine: Examine) -> None:
    """What does not speak HTTP is told from nothing at all; what does, and has no health page, may be a gateway."""

    async def noise(request: Request, reply: Reply) -> None:
        await reply.raw(b"SSH-2.0-planted\r\n\r\n")
        reply.writer.close()

    assert "does not speak HTTP" in examine(upstream(noise).url).of("reachable")
    found = examine(upstream(lambda request, reply: reply.json(b"{}", 404)).url)
    assert "note something answers" in found.of("reachable")
    assert found.of("call").startswith("FAIL 404")


@pytest.mark.parametrize("conn_str", ["nonsense", "Endpoint=sb://x.example/;SharedAccessKeyName=a;SharedAccessKey=b"])
def test_a_connection_string_that_is_none(upstream: Any, proxy: Any, examine: Examine, conn_str: str) -> None:
    """One that cannot be read, or names no hub, is said to be so before the calls, which are made all the same."""
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", conn_str)
    assert "FAIL not looked for" in found.of("records")
    assert found.words("call") == ["ok", "ok"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b'{"error":{"code":"DeploymentNotFound","message":"It does not exist."}}', "no such deployment"),
        (429, b'{"error":{"code":"429","message":"Slow down."}}', "quota is used up"),
        (500, b'{"error":{"code":"500","message":"planted client-key-0"}}', "500 planted …"),
        (401, b'{"error":{"code":"401","message":"Upstream says no."}}', "or the proxy's own is not"),
    ],
)
def test_what_upstream_refuses(
    upstream: Any, proxy: Any, examine: Examine, status: int, body: bytes, said: str
) -> None:
    """An error is shown in upstream's words, with what it may come from, and never with a key."""
    found = examine(proxy(upstream(lambda request, reply: reply.json(body, status)).url).url)
    assert found.of("call").startswith(f"FAIL {status}")
    assert said in found.of("call")
    assert found.status == 1


def test_an_upstream_that_is_away(proxy: Any, examine: Examine) -> None:
    """The proxy's own 502 is told from a proxy that is away."""
    found = examine(proxy(f"http://127.0.0.1:{unused_port()}").url)
    assert "FAIL 502" in found.of("call")
    assert "what is before it, gets no answer" in found.of("call")


def test_a_hub_that_cannot_be_read(
    upstream: Any, proxy: Any, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that cannot be looked for are a failure with its reason; the calls were fine all the same."""
    monkeypatch.setattr("app.doctor.checks.RECORD_S", 5.0)
    nowhere = (
        f"Endpoint=sb://localhost:{unused_port()};SharedAccessKeyName=x;SharedAccessKey=hub-secret;"
        "UseDevelopmentEmulator=true;EntityPath=h"
    )
    found = examine(proxy(upstream(model).url).url, "--hub-conn-str", nowhere)
    assert "FAIL none of the call arrived at the hub" in found.of("records")
    assert found.words("stream") == ["ok", "ok"]
    assert found.status == 1
    assert "hub-secret" not in found.said


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
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "1 check failed." in ended.stdout
    assert "not-the-key" not in ended.stdout


def seen(**more: Any) -> Seen:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return Seen("0" * 32, **{"stream": True, "content": TEXT, "usage": usage, "end": 1.0, **more})


RECORD = {
    "type": "stream_completion",
    "status": "completed",
    "http_status": 200,
    "content": TEXT,
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {}},
    "latency_ms": 900,
    "time_to_first_chunk_ms": 100,
    "time_to_first_token_ms": 400,
    "streaming_duration_ms": 800,
}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, []),
        ({"type": "completion"}, ["type is 'completion' and not 'stream_completion'"]),
        ({"status": "client_aborted"}, ["status is 'client_aborted' and not 'completed'"]),
        ({"http_status": None}, ["http_status is None and not 200"]),
        ({"content": "else"}, ["content is not what was received"]),
        ({"content": "[redacted] else"}, []),
        ({"content": "", "content_captured": False}, []),
        ({"content": "Wh…", "truncated": True}, []),
        ({"usage": None}, ["usage is missing"]),
        ({"usage": {**RECORD["usage"], "total_tokens": 4}}, ["usage is not what was received"]),  # type: ignore[dict-item]
        ({"latency_ms": None}, ["latency_ms is missing"]),
        ({"latency_ms": 1100}, ["latency_ms is 1100, and the client was done after 1000"]),
        ({"streaming_duration_ms": 799}, ["its times do not add up"]),
    ],
)
def test_records_are_compared(more: dict[str, Any], said: list[str]) -> None:
    """Each difference between a record and what the client saw is named; what may differ by settings is none."""
    assert differences({**RECORD, **more}, seen()) == said


def test_arrivals_are_judged() -> None:
    """What comes within three thousandths of a second came together; a thousand chunks a second were held."""
    assert seen(tokens_at=[]).lots == 0
    assert seen(tokens_at=[1.0]).lots == 1
    assert seen(tokens_at=[1.0, 1.001, 1.002, 1.010, 1.011, 2.0]).lots == 3
    assert seen(tokens_at=[5.0 + number / 2000 for number in range(50)]).held
    assert not seen(tokens_at=[5.0 + number / 500 for number in range(50)]).held
    paused = [number / 2000 + 0.02 * (number // 10) for number in range(42)]
    assert seen(tokens_at=[2.0 + at for at in paused]).held
    assert not seen(tokens_at=[0.5 + at for at in paused]).held
    assert not seen(tokens_at=[2.0 + at * 4 for at in paused]).held
    assert not seen(tokens_at=[]).held
    assert not seen(tokens_at=[1.0]).held
    assert generated_over(RECORD) == 0.5
    assert generated_over({"latency_ms": 5}) is None


def test_a_proxy_that_is_not_ready(upstream: Any, proxy: Any, examine: Examine) -> None:
    """Records that wait too long show: /health/ready answers 503, and what waits is said."""
    nowhere = environ("", f"Endpoint=sb://localhost:{unused_port()}", ROOT)["AZURE_EVENTHUB_CONN_STR"]
    running = proxy(
        upstream(model).url,
        f"{nowhere};SharedAccessKeyName=x;SharedAccessKey=x;UseDevelopmentEmulator=true;EntityPath=h",
        PROXY_READY_MAX_BACKLOG_SECONDS="0.001",
        PROXY_SHUTDOWN_SECONDS="1",
    )
    examine(running.url)
    found = examine(running.url)
    assert found.of("ready").startswith("FAIL 503: ")
    assert found.status == 1
