"""Redaction: what PROXY_REDACT matches is in no record, no span, no file and no log, whatever the patterns are."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from app.redact import CALL_S, DROPPED, REDACTED, Redactor
from app.settings import Settings, SettingsError
from otel import attributes as a
from otel.call import Call, Choice, Request, ToolCall
from tests.conftest import environ
from tests.kit.hub import HubReader, wait_until
from tests.kit.upstream import Reply, Seen
from tests.kit.wire import CHAT, DONE, chat_json, client, delta, event

MARK = "planted-secret"
PATTERNS = json.dumps([r"planted-\w+", r"\b\d{4}(?:[ -]?\d{4}){3}\b"])
CATASTROPHE = r"(?:x|xx)+$"
STUCK = "x" * 60 + "!"  # the pattern would try as many ways as there are Fibonacci numbers to the sixtieth


def redacted(call: Call, *patterns: str, call_s: float = 20.0) -> bool:
    redactor = Redactor(patterns, call_s)
    assert redactor.applies(call)
    return asyncio.run(redactor.redact(call))


def asked(prompt: object, **more: Any) -> Call:
    return Call("chat", request=Request(prompt=json.dumps(prompt), **more))


def prompt_of(call: Call) -> Any:
    assert call.request.prompt is not None
    return json.loads(call.request.prompt)


def test_everything_that_was_said_is_redacted() -> None:
    """Prompt, instructions, stop sequences, answers, refusals, reasoning, tool calls and error messages are."""
    call = asked(
        [{"role": "user", "content": [{"type": "text", "text": f"my {MARK} is 4111 1111-1111 1111."}]}],
        instructions=json.dumps(f"keep {MARK}"),
        parameters={a.REQUEST_STOP_SEQUENCES: [MARK, "end"], a.REQUEST_SEED: 7},
    )
    tool = ToolCall("call-1", f"look_{MARK}", json.dumps({"who": MARK}))
    call.answer.choices = [Choice(0, MARK, MARK, f"think {MARK}", [tool], "stop"), Choice(1, f"x{MARK}")]
    call.error_message = f"no {MARK}"
    assert redacted(call, *json.loads(PATTERNS))
    assert prompt_of(call) == [{"role": "user", "content": [{"type": "text", "text": f"my {REDACTED} is {REDACTED}."}]}]
    assert call.request.instructions == json.dumps(f"keep {REDACTED}")
    assert call.request.parameters == {a.REQUEST_STOP_SEQUENCES: [REDACTED, "end"], a.REQUEST_SEED: 7}
    clean = ToolCall("call-1", f"look_{REDACTED}", json.dumps({"who": REDACTED}))
    assert call.answer.choices == [
        Choice(0, REDACTED, REDACTED, f"think {REDACTED}", [clean], "stop"),
        Choice(1, f"x{REDACTED}"),
    ]
    assert call.error_message == f"no {REDACTED}"


TEXTS = st.text(max_size=20)
SECRETS = st.one_of(TEXTS, st.builds(lambda left, right: left + MARK + right, TEXTS, TEXTS))
DOCUMENTS = st.recursive(
    st.one_of(SECRETS, st.integers(-(2**63), 2**63), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(SECRETS, inner, max_size=4)),
    max_leaves=20,
)


@trials(deadline=None, max_examples=60)
@given(DOCUMENTS)
def test_json_stays_json(document: object) -> None:
    """Whatever a prompt's shape and escapes, it is valid JSON of the same shape without the secret."""
    call = asked(document)
    assert redacted(call, MARK)
    found = prompt_of(call)
    assert MARK not in json.dumps(found, ensure_ascii=False)
    assert shape(found) == shape(json.loads(json.dumps(document).replace(MARK, REDACTED)))


def shape(value: object) -> object:
    match value:
        case list():
            return [shape(entry) for entry in value]
        case dict():
            return {key: shape(entry) for key, entry in value.items()}
    return type(value)


def test_texts_are_searched_as_they_read() -> None:
    """Escapes hide nothing: a pattern sees the letters that stand for themselves, names of members too."""
    call = Call("chat", request=Request(prompt=r'{"plante\u0064-secret": "a\/b \u00e9 \ud83d\ude00 \ud800"}'))
    assert redacted(call, MARK, "a/b", "é \U0001f600")
    assert prompt_of(call) == {REDACTED: f"{REDACTED} {REDACTED} \ud800"}


def test_patterns_that_take_for_ever_end_and_let_nothing_through(caplog: pytest.LogCaptureFixture) -> None:
    """A text that a pattern cannot get through in its time is dropped, marked and counted; the others are kept."""
    call = asked([{"content": STUCK}, {"content": f"good {MARK}"}])
    call.answer.choices = [Choice(content=STUCK), Choice(1, "fine")]
    redactor = Redactor([MARK, CATASTROPHE], call_s=20.0)
    assert asyncio.run(redactor.redact(call))
    assert prompt_of(call) == [{"content": DROPPED}, {"content": f"good {REDACTED}"}]
    assert [choice.content for choice in call.answer.choices] == [DROPPED, "fine"]
    assert redactor.dropped == 2
    assert "2 texts were dropped" in caplog.text
    assert STUCK not in caplog.text


def test_a_call_full_of_such_texts_has_one_limit() -> None:
    """However many texts take too long, the call ends within its time, and none of them is let through."""
    call = asked([STUCK] * 200)
    start = time.monotonic()
    fit = redacted(call, CATASTROPHE, call_s=0.3)
    assert time.monotonic() - start < 5  # 200 texts of 50 ms each, if every one had its own time
    assert not fit or set(prompt_of(call)) == {DROPPED}


def test_the_loop_goes_on_meanwhile() -> None:
    """While a pattern hangs, the loop serves others: searching does not hold the interpreter's lock."""
    call = asked([STUCK] * 5)

    async def beats() -> int:
        redacting = asyncio.create_task(Redactor([CATASTROPHE], call_s=20.0).redact(call))
        count = 0
        while not redacting.done():
            await asyncio.sleep(0.001)
            count += 1
        assert redacting.result()
        return count

    assert asyncio.run(beats()) > 25  # were the lock held, there would be about one for each text


def test_what_cannot_be_walked_is_dropped() -> None:
    """A prompt nested deeper than can be walked is dropped whole, and is JSON all the same."""
    call = Call("chat", request=Request(prompt="[" * 5000 + json.dumps(MARK) + "]" * 5000))
    assert redacted(call, MARK)
    assert prompt_of(call) == DROPPED


def test_a_failure_lets_nothing_through(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """If redaction itself fails, the call says so, changes nothing and shows nothing of the text."""

    def fail(*_: object) -> None:
        raise RuntimeError(MARK)

    monkeypatch.setattr("app.redact._Search.said", fail)
    call = asked(MARK)
    assert not redacted(call, MARK)
    assert prompt_of(call) == MARK
    assert "RuntimeError" in caplog.text
    assert MARK not in caplog.text


def test_without_patterns_or_content_there_is_nothing_to_do() -> None:
    """No thread, no work: neither without PROXY_REDACT nor where content is not captured."""
    assert not Redactor(()).applies(asked("x"))
    assert not Redactor(["x"]).applies(Call("chat", capture_content=False))


HUB = "Endpoint=sb://example.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=k;EntityPath=h"


def read(text: str) -> Settings:
    return Settings.from_environ(environ("https://x.example", HUB, Path("spool"), PROXY_REDACT=text))


def test_settings() -> None:
    """The patterns are a JSON list; none is the default."""
    assert read(PATTERNS).redact == tuple(json.loads(PATTERNS))
    assert read("").redact == ()
    assert read("[]").redact == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (MARK, ["PROXY_REDACT is not valid JSON"]),
        ("[" * 100_000, ["PROXY_REDACT is not valid JSON"]),
        (json.dumps(MARK), ["PROXY_REDACT must be a JSON list of regular expressions"]),
        (json.dumps([MARK, 1]), ["PROXY_REDACT must be a JSON list of regular expressions"]),
        (json.dumps([f"({MARK}"]), ["PROXY_REDACT[0] is no regular expression: missing ) at position 15"]),
        (
            json.dumps(["fine", "[", f"{MARK}*?*", "x*"]),
            ["PROXY_REDACT[1] is no", "PROXY_REDACT[2] is no", "PROXY_REDACT[3] matches the empty text"],
        ),
    ],
)
def test_faults_in_settings(text: str, found: list[str]) -> None:
    """Every pattern that is none is a fault, by its place, and is not repeated."""
    with pytest.raises(SettingsError) as faults:
        read(text)
    assert [fault[: len(start)] for fault, start in zip(faults.value.faults, found, strict=True)] == found
    assert MARK not in str(faults.value)


SAID: list[dict[str, Any]] = [
    {"content": f"c-{MARK}-0"},
    {"refusal": f"r-{MARK}-0"},
    {"reasoning_content": f"t-{MARK}-0"},
    {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": f'{{"a":"{MARK}"}}'}}]},
]
STREAM = [*(delta(part, index=index) for index in (0, 1) for part in SAID), delta({}, "stop"), DONE]
BODY = {
    "messages": [{"role": "system", "content": MARK}, {"role": "user", "content": [{"type": "text", "text": MARK}]}],
    "stop": [MARK],
    "stream": True,
}


def everything(running: Any, trace_id: str, spool: Path) -> str:
    """What the proxy keeps of a trace, anywhere."""
    spans = "".join(span.to_json() for span in running.spans.of_trace(trace_id, 2))
    return spans + "".join(path.read_text() for path in spool.rglob("*") if path.is_file())


def test_a_stream_arrives_untouched_and_is_recorded_redacted(
    upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets every byte; record, span, spool and log have the words around the secret only."""

    async def script(request: Seen, reply: Reply) -> None:
        assert MARK.encode() in request.body
        await reply.stream_head()
        for one in STREAM:
            await reply.chunk(one)
        await reply.end()

    running = proxy(upstream(script).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller, caplog.at_level(logging.DEBUG):
        answer = caller.send("POST", CHAT, json.dumps(BODY))
        assert answer.read() == b"".join(STREAM)
    record = hub.record(answer.trace_id)
    assert [message["content"] for message in record["prompt"]] == [REDACTED, [{"type": "text", "text": REDACTED}]]
    assert record["content"] == f"c-{REDACTED}-0"
    assert record["refusal"] == f"r-{REDACTED}-0"
    assert record["reasoning"] == f"t-{REDACTED}-0"
    assert record["tool_calls"][0]["arguments"] == f'{{"a":"{REDACTED}"}}'
    assert record["choices"][1]["content"] == f"c-{REDACTED}-0"
    assert record["content_captured"] is True
    kept = everything(running, answer.trace_id, tmp_path)
    assert REDACTED in kept
    assert MARK not in kept + json.dumps(record) + caplog.text


def test_error_messages_are_redacted(upstream: Any, proxy: Any, hub: HubReader) -> None:
    """Upstream's words about what was sent are redacted too; its answer passes as it is."""
    body = json.dumps({"error": {"code": "bad", "message": f"cannot read {MARK}"}}).encode()
    running = proxy(upstream(lambda request, reply: reply.json(body, 400)).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.chat()
        assert answer.read() == body
    assert hub.record(answer.trace_id)["error"] == {"code": "bad", "message": f"cannot read {REDACTED}"}


def test_a_call_in_flight_keeps_no_prompt(upstream: Any, proxy: Any, hub: HubReader, tmp_path: Path) -> None:
    """While a call runs, its file for the case of a crash has its id and trace, and nothing that was said."""
    kept: list[str] = []

    def look() -> None:
        kept.extend(path.read_text() for path in tmp_path.rglob("*.call"))

    async def script(request: Seen, reply: Reply) -> None:
        look()
        await reply.json(chat_json())

    running = proxy(upstream(script).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps({**BODY, "stream": False}))
        answer.read()
    (line,) = kept
    record = json.loads(line)
    assert (record["trace_id"], record["prompt"], record["content_captured"]) == (answer.trace_id, None, False)
    assert MARK not in line


def test_the_stream_does_not_wait_for_redaction(
    upstream: Any, proxy: Any, hub: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte is with the client before redaction is done; the answer ends when the record is made."""
    begun, may_go = asyncio.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    redact: Callable[..., Any] = Redactor.redact

    async def held(self: Redactor, call: Call, hurry: bool) -> bool:
        loops.append(asyncio.get_running_loop())
        begun.set()
        await may_go.wait()
        done: bool = await redact(self, call, hurry)
        return done

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM:
            await reply.chunk(one)
        await reply.end()

    monkeypatch.setattr(Redactor, "redact", held)
    running = proxy(upstream(script).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(BODY))
        received = b""
        while received != b"".join(STREAM):
            received += answer.some()
        wait_until(begun.is_set)
        assert not any(span.kind.name == "CLIENT" for span in running.spans.ended)
        loops[0].call_soon_threadsafe(may_go.set)
        assert answer.read() == b""
    assert hub.record(answer.trace_id)["status"] == "completed"


def test_the_record_is_on_disk_before_the_answer_ends(upstream: Any, proxy: Any, tmp_path: Path) -> None:
    """When the client has seen the end of a stream, a process killed now leaves the whole record, redacted."""
    nowhere = (
        f"Endpoint=sb://localhost:{unused_port()};SharedAccessKeyName=x;SharedAccessKey=x;"
        "UseDevelopmentEmulator=true;EntityPath=h"
    )

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        for one in STREAM:
            await reply.chunk(one)
        await reply.end()

    running = proxy(upstream(script).url, nowhere, PROXY_REDACT=PATTERNS, PROXY_SHUTDOWN_SECONDS="1")
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps(BODY))
        answer.read()
        lines = [line for path in tmp_path.rglob("*") if path.is_file() for line in path.read_text().splitlines()]
    (record,) = (json.loads(line) for line in lines)
    assert (record["trace_id"], record["status"]) == (answer.trace_id, "completed")
    assert record["content"] == f"c-{REDACTED}-0"


@pytest.mark.parametrize("way", ["fails", "hangs"])
def test_what_could_not_be_redacted_is_not_recorded(
    upstream: Any, proxy: Any, hub: HubReader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    """A redaction that fails or never ends leaves a record without content that says so, and the call unharmed."""

    def bad(*_: object) -> None:
        if way == "fails":
            raise RuntimeError(MARK)
        time.sleep(CALL_S + 0.5)

    monkeypatch.setattr("app.redact._Search.said", bad)
    running = proxy(upstream(lambda request, reply: reply.json(chat_json(MARK))).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.send("POST", CHAT, json.dumps({**BODY, "stream": False}))
        assert answer.read() == chat_json(MARK)
    record = hub.record(answer.trace_id)
    assert (record["content_captured"], record["prompt"], record["content"]) == (False, None, "")
    assert record["usage_source"] == "reported"
    assert MARK not in everything(running, answer.trace_id, tmp_path) + json.dumps(record)


def test_a_client_that_leaves_at_the_end_does_not_spoil_the_record(
    upstream: Any, proxy: Any, hub: HubReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients hang up at [DONE]: a call whose last byte was sent stays completed, though it is still being redacted."""
    slow: Callable[..., Any] = Redactor.redact

    async def held(self: Redactor, call: Call, hurry: bool) -> bool:
        gone.set()
        await asyncio.sleep(0.2)  # long enough for the server to notice that the client has gone
        done: bool = await slow(self, call, hurry)
        return done

    async def script(request: Seen, reply: Reply) -> None:
        await reply.stream_head()
        await reply.chunk(delta({"content": MARK}))
        await reply.chunk(event("[DONE]"))
        await reply.end()

    gone = asyncio.Event()
    monkeypatch.setattr(Redactor, "redact", held)
    running = proxy(upstream(script).url, PROXY_REDACT=PATTERNS)
    with client(running.url) as caller:
        answer = caller.chat(stream=True)
        trace_id, received = answer.trace_id, b""
        while b"[DONE]" not in received:
            received += answer.some()
        wait_until(gone.is_set)
    record = hub.record(trace_id)
    assert (record["status"], record["content"]) == ("completed", REDACTED)
