"""Usage that upstream did not report: which calls it is counted for, in their time, and never invented."""

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from app.answer.estimate import CALL_S, Estimator
from otel.call import Answer, Call, Choice, Request, Status, ToolCall, Usage
from tests.app.answer.tokenizers import NEW, OLD, Words


def call(**more: Any) -> Call:
    given: dict[str, Any] = {"request": Request(model="gpt-4o"), "http_status": 200, **more}
    return Call("chat", **given)


BODY = json.dumps({"messages": [{"role": "user", "content": "12345"}]}).encode()


def estimated(subject: Call, sent: bytes | None = BODY, load: Any = lambda encoding: Words()) -> Answer:
    estimator = Estimator(load)
    assert estimator.applies(subject)
    asyncio.run(estimator.estimate(subject, sent))
    return subject.answer


def test_both_sides_are_counted() -> None:
    """The prompt with its overhead; all choices with refusals, reasoning and tool calls."""
    answer = Answer(choices=[Choice(0, "abc", "d", "ef", [ToolCall("1", "g", "hi")]), Choice(1, "j")])
    found = estimated(call(answer=answer))
    assert found.usage == Usage(3 + 3 + 4 + 5, 3 + 1 + 2 + 1 + 2 + 7 + 1, 15 + 17)
    assert found.usage_source == "estimated"


def test_what_was_not_said_is_not_zero() -> None:
    """Where upstream took the prompt and nothing came of it, the completion is unknown."""
    assert estimated(call(status=Status.CLIENT_ABORTED)).usage == Usage(15, None, 15)


@pytest.mark.parametrize(
    "more",
    [
        {"http_status": None, "status": Status.CLIENT_ABORTED},
        {"http_status": 429, "status": Status.UPSTREAM_ERROR},
        {"status": Status.UPSTREAM_ERROR},
        {"answer": Answer(usage=Usage(1, 2, 3), usage_source="reported")},
        {"answer": Answer(truncated=True)},
    ],
)
def test_where_there_is_nothing_to_estimate(more: dict[str, Any]) -> None:
    """No answer, an error, a reported usage, an answer that could not be read: no estimate."""
    assert not Estimator().applies(call(**more))


@pytest.mark.parametrize("operation", ["image_generation", "speech", "transcription", "call"])
def test_other_operations_have_no_estimate(operation: str) -> None:
    """What pictures and sound cost does not show in texts."""
    assert not Estimator().applies(Call(operation, http_status=200))


def test_without_a_tokenizer_usage_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    """A package that is not there is said once, and hurts no call."""
    tries = []

    def load(encoding: str) -> Any:
        tries.append(encoding)
        raise ImportError("not there")

    estimator = Estimator(load)
    for _ in range(3):
        subject = call()
        asyncio.run(estimator.estimate(subject, BODY))
        assert (subject.answer.usage, subject.answer.usage_source) == (None, "missing")
    assert tries == [NEW]
    assert caplog.text.count("not there") == 1


def test_vocabularies_are_read_when_needed() -> None:
    """None before the first estimate, each once, and only those that are needed."""
    loaded: list[str] = []

    def load(encoding: str) -> Words:
        loaded.append(encoding)
        return Words()

    estimator = Estimator(load)
    assert loaded == []
    for model in ("gpt-4o", "gpt-4.1", "gpt-4", "gpt-4"):
        asyncio.run(estimator.estimate(call(request=Request(model=model)), BODY))
    assert loaded == [NEW, OLD]


def test_it_ends_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer that hangs costs a call its estimate, after a second, and those behind it no more."""
    monkeypatch.setattr("app.answer.estimate.CALL_S", CALL_S)
    hang = threading.Event()

    class Hanging:
        def count(self, text: str) -> int:
            hang.wait(60)
            return 1

    async def three() -> list[Call]:
        calls = [call() for _ in range(3)]
        estimator = Estimator(lambda encoding: Hanging())
        await asyncio.gather(*(estimator.estimate(subject, BODY) for subject in calls))
        hang.set()
        return calls

    start = time.monotonic()
    calls = asyncio.run(three())
    assert CALL_S <= time.monotonic() - start < 50
    assert {subject.answer.usage_source for subject in calls} == {"missing"}


@pytest.mark.parametrize("sent", [None, b"[]", b'{"messages":[{"content":"' + b"x" * (8 << 20) + b'"}]}'])
def test_without_a_body_there_is_no_estimate(sent: bytes | None) -> None:
    """A body that passed by unread, or is too large to be read again, is not counted."""
    body_less = Call("text_completion", http_status=200)
    assert estimated(body_less, sent).usage is None
