"""Redactor: no match of PROXY_REDACT is recorded, whatever the patterns."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from app.answer.redact import DROPPED, REDACTED, Redactor
from app.settings.settings import Settings, SettingsError
from otel import attributes as a
from otel.call import Call, Choice, Request, ToolCall
from tests.app.answer.secrets import MARK, PATTERNS
from tests.conftest import environ

CATASTROPHIC = r"(?:x|xx)+$"

STUCK = "x" * 60 + "!"  # backtracks as often as the 60th Fibonacci number


def redacted(call: Call, *patterns: str, call_s: float = 20.0) -> bool:
    redactor = Redactor(patterns, call_s)
    assert redactor.applies(call)
    return asyncio.run(redactor.redact(call))


def with_prompt(prompt: object, **more: Any) -> Call:
    return Call("chat", request=Request(prompt=json.dumps(prompt), **more))


def prompt_of(call: Call) -> Any:
    assert call.request.prompt is not None
    return json.loads(call.request.prompt)


def test_all_content_is_redacted() -> None:
    """Prompt, instructions, stop sequences, output, refusals, reasoning, tool calls and error messages."""
    call = with_prompt(
        [{"role": "user", "content": [{"type": "text", "text": f"my {MARK} is 4111 1111-1111 1111."}]}],
        instructions=json.dumps(f"keep {MARK}"),
        parameters={a.REQUEST_STOP_SEQUENCES: (MARK, "end"), a.REQUEST_SEED: 7},
    )
    tool = ToolCall("call-1", f"look_{MARK}", json.dumps({"who": MARK}))
    call.answer.choices = [Choice(0, MARK, MARK, f"think {MARK}", [tool], "stop"), Choice(1, f"x{MARK}")]
    call.error_message = f"no {MARK}"
    assert redacted(call, *json.loads(PATTERNS))
    assert prompt_of(call) == [{"role": "user", "content": [{"type": "text", "text": f"my {REDACTED} is {REDACTED}."}]}]
    assert call.request.instructions == json.dumps(f"keep {REDACTED}")
    assert call.request.parameters == {a.REQUEST_STOP_SEQUENCES: (REDACTED, "end"), a.REQUEST_SEED: 7}
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
    """Any prompt stays valid JSON of the same shape, without the secret."""
    call = with_prompt(document)
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


def test_escapes_hide_nothing() -> None:
    """Patterns see unescaped text, in names of members too."""
    call = Call("chat", request=Request(prompt=r'{"plante\u0064-secret": "a\/b \u00e9 \ud83d\ude00 \ud800"}'))
    assert redacted(call, MARK, "a/b", "é \U0001f600")
    assert prompt_of(call) == {REDACTED: f"{REDACTED} {REDACTED} \ud800"}


def test_a_text_that_takes_too_long_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A text that a pattern cannot search in time is dropped, marked and counted; the others are kept."""
    call = with_prompt([{"content": STUCK}, {"content": f"good {MARK}"}])
    call.answer.choices = [Choice(content=STUCK), Choice(1, "fine")]
    redactor = Redactor([MARK, CATASTROPHIC], call_s=20.0)
    assert asyncio.run(redactor.redact(call))
    assert prompt_of(call) == [{"content": DROPPED}, {"content": f"good {REDACTED}"}]
    assert [choice.content for choice in call.answer.choices] == [DROPPED, "fine"]
    assert redactor.dropped == 2
    assert "2 texts were dropped" in caplog.text
    assert STUCK not in caplog.text


def test_a_call_has_one_time_limit() -> None:
    """However many texts take too long, redaction ends in time, and none of them is recorded."""
    call = with_prompt([STUCK] * 2000)
    start = time.monotonic()
    in_time = redacted(call, CATASTROPHIC, call_s=0.3)
    assert time.monotonic() - start < 60  # a limit per text would be 2000 times 50 ms
    assert not in_time or set(prompt_of(call)) == {DROPPED}


def test_the_event_loop_is_not_blocked() -> None:
    """While a pattern hangs, the event loop runs: searching does not hold the GIL."""
    call = with_prompt([STUCK] * 5)

    async def beats() -> int:
        redacting = asyncio.create_task(Redactor([CATASTROPHIC], call_s=20.0).redact(call))
        count = 0
        while not redacting.done():
            await asyncio.sleep(0.001)
            count += 1
        assert redacting.result()
        return count

    assert asyncio.run(beats()) > 25  # with the GIL held, about one per text


def test_a_prompt_nested_too_deeply_is_dropped() -> None:
    """It is dropped as a whole, and stays JSON."""
    call = Call("chat", request=Request(prompt="[" * 5000 + json.dumps(MARK) + "]" * 5000))
    assert redacted(call, MARK)
    assert prompt_of(call) == DROPPED


def test_redaction_needs_patterns_and_content() -> None:
    """It does not apply without PROXY_REDACT or without content capture."""
    assert not Redactor(()).applies(with_prompt("x"))
    assert not Redactor(["x"]).applies(Call("chat", capture_content=False))


HUB = "Endpoint=sb://example.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=k;EntityPath=h"


def read(text: str) -> Settings:
    return Settings.from_environ(environ("https://x.example", HUB, Path("spool"), PROXY_REDACT=text))


def test_patterns_are_read_from_the_settings() -> None:
    """PROXY_REDACT is a JSON list, empty by default."""
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
        (json.dumps([f"({MARK}"]), ["PROXY_REDACT[0] is not a regular expression: missing ) at position 15"]),
        (
            json.dumps(["fine", "[", f"{MARK}*?*", "x*"]),
            ["PROXY_REDACT[1] is no", "PROXY_REDACT[2] is no", "PROXY_REDACT[3] matches the empty string"],
        ),
    ],
)
def test_invalid_patterns_are_rejected(text: str, found: list[str]) -> None:
    """Each invalid pattern is reported by its position, without its text."""
    with pytest.raises(SettingsError) as faults:
        read(text)
    assert [fault[: len(start)] for fault, start in zip(faults.value.faults, found, strict=True)] == found
    assert MARK not in str(faults.value)
