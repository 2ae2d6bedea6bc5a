"""A proxy in its own process that sends telemetry to receivers on loopback, and an upstream that misbehaves."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environ
from tests.kit.hub import Broker
from tests.kit.proxy import ProxyProcess, closing_all
from tests.kit.receiver import Receiver
from tests.kit.upstream import Reply, ScriptedUpstream, Seen
from tests.kit.wire import AZURE_HEADERS, CHAT, DONE, STREAM_WITH_USAGE, chat_json, client, delta, event

PROMPT_MARK = "prompt-marker-5d0c"
ANSWER_MARK = "answer-marker-77aa"
PARENT = "b7ad6b7169203331"

type StartMonitored = Callable[..., ProxyProcess]


async def misbehave(request: Seen, reply: Reply) -> None:
    """Respond as the request's `x-case` says; every text contains a marker."""
    match request.header("x-case"):
        case "stream":
            await reply.stream_head(**AZURE_HEADERS)
            for one in [*STREAM_WITH_USAGE[:3], delta({"content": ANSWER_MARK}), *STREAM_WITH_USAGE[3:]]:
                await reply.chunk(one)
            await reply.end()
        case "throttled":
            await reply.json(_error("429", f"slow down: {ANSWER_MARK}"), 429, AZURE_HEADERS)
        case "filtered":
            await reply.json(_error("content_filter", f"you said {PROMPT_MARK}"), 400, AZURE_HEADERS)
        case "tools":
            await reply.stream_head(**AZURE_HEADERS)
            called = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": f'{{"x": "{ANSWER_MARK}"}}'}}
            for one in (delta({"tool_calls": [called]}), delta({"refusal": ANSWER_MARK}, "stop"), DONE):
                await reply.chunk(one)
            await reply.end()
        case "echo":  # a server whose error quotes the request, keys included
            await reply.json(_error("401", f"{request.headers} {request.body!r}"), 401, AZURE_HEADERS)
        case "down":
            reply.reset()
        case "cut":
            await reply.stream_head(**AZURE_HEADERS)
            await reply.chunk(delta({"content": ANSWER_MARK}))
            reply.reset()
        case "failed":
            await reply.stream_head(**AZURE_HEADERS)
            await reply.chunk(delta({"content": ANSWER_MARK}))
            await reply.chunk(event(json.loads(_error("server_error", f"lost {ANSWER_MARK}"))))
            await reply.end()
        case "endless":
            await reply.stream_head(**AZURE_HEADERS)
            await reply.chunk(delta({"content": ANSWER_MARK}))
            await reply.hung_up()
        case _:
            await reply.json(chat_json(f"It is {ANSWER_MARK}."), headers=AZURE_HEADERS)


def _error(code: str, message: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "type": None, "param": None}}).encode()


def question(stream: bool = False, **more: Any) -> bytes:
    """A chat request with the prompt's marker."""
    messages = [{"role": "user", "content": f"What is {PROMPT_MARK}?"}]
    return json.dumps({"messages": messages, **({"stream": True} if stream else {}), **more}).encode()


def traceparent(number: int, flags: str = "01") -> dict[str, str]:
    """The header of a caller whose span PARENT is in the trace of that number."""
    return {"traceparent": f"00-{number:032x}-{PARENT}-{flags}"}


def stream_calls(url: str, calls: int, **headers: str) -> list[str]:
    """Make streamed calls one after the other, all of which must succeed; returns their trace ids."""
    with client(url) as caller:
        traces = []
        for _ in range(calls):
            answer = caller.send("POST", CHAT, question(True), x_case="stream", **headers)
            assert answer.status == 200
            assert answer.read().endswith(b"data: [DONE]\n\n")
            traces.append(answer.trace_id)
    return traces


@pytest.fixture(scope="module")
def azure_openai() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(misbehave) as server:
        yield server
    assert not server.failures, server.failures


@pytest.fixture(scope="module")
def outside() -> Iterator[Receiver]:
    """An HTTP proxy for every host but this machine, which lets nothing through."""
    receiver = Receiver()
    receiver.answer = lambda received: (502, {}, b"")
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def monitored(
    broker: Broker, azure_openai: ScriptedUpstream, outside: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StartMonitored]:
    """Start a process: `monitored(NAME="value", app="module:factory")`; its spool directory is `process.spool`."""
    with closing_all() as started:

        def start(app: str = "app.main:create_app", **more: str) -> ProxyProcess:
            spool = tmp_path_factory.mktemp("proxy") / "spool"
            settings = environ(azure_openai.url, broker.conn_str, spool, **(quick(outside) | more))
            running = ProxyProcess(settings, app=app)
            started.append(running)
            running.spool = spool  # type: ignore[attr-defined]
            return running.wait_started()

        yield start


def quick(outside: Receiver) -> dict[str, str]:
    """Export without delay, and send everything else to `outside`."""
    return {
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_BLRP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "HTTP_PROXY": outside.url,
        "HTTPS_PROXY": outside.url,
        "NO_PROXY": "127.0.0.1",
    }


def storage(process: Any) -> Path:
    """The directory for what Application Insights could not take."""
    spool: Path = process.spool
    return spool / "application-insights"


def waiting(process: Any) -> str:
    """The content of all files there."""
    texts = []
    for path in storage(process).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it was just renamed, or sent
            texts.append(path.read_text())
    return "\n".join(texts)
