"""Estimator: which calls it counts, in limited time, and never inventing a count."""

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


def test_prompt_and_completion_are_counted() -> None:
    """The prompt with its overhead, and all choices with refusals, reasoning and tool calls."""
    answer = Answer(choices=[Choice(0, "abc", "d", "ef", [ToolCall("1", "g", "hi")]), Choice(1, "j")])
    found = estimated(call(answer=answer))
    assert found.usage == Usage(3 + 3 + 4 + 5, 3 + 1 + 2 + 1 + 2 + 7 + 1, 15 + 17)
    assert found.usage_source == "estimated"


def test_an_unknown_completion_is_not_zero() -> None:
    """If upstream accepted the prompt and sent no output, the completion count is unknown."""
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
def test_some_calls_have_no_estimate(more: dict[str, Any]) -> None:
    """No estimate without a response, for an error, with reported usage, or if the response was not read."""
    assert not Estimator().applies(call(**more))


@pytest.mark.parametrize("operation", ["image_generation", "speech", "transcription", "call"])
def test_other_operations_have_no_estimate(operation: str) -> None:
    """The usage of images and audio does not depend on text alone."""
    assert not Estimator().applies(Call(operation, http_status=200))


def test_without_a_tokenizer_usage_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    """A missing package is logged once and harms no call."""
    loads = []

    def load(encoding: str) -> Any:
        loads.append(encoding)
        raise ImportError("not there")

    estimator = Estimator(load)
    for _ in range(3):
        subject = call()
        asyncio.run(estimator.estimate(subject, BODY))
        assert (subject.answer.usage, subject.answer.usage_source) == (None, "missing")
    assert loads == [NEW]
    assert caplog.text.count("not there") == 1


def test_vocabularies_are_loaded_on_first_use() -> None:
    """None is loaded before the first estimate, and each needed one once."""
    loaded: list[str] = []

    def load(encoding: str) -> Words:
        loaded.append(encoding)
        return Words()

    estimator = Estimator(load)
    assert loaded == []
    for model in ("gpt-4o", "gpt-4.1", "gpt-4", "gpt-4"):
        asyncio.run(estimator.estimate(call(request=Request(model=model)), BODY))
    assert loaded == [NEW, OLD]


def test_estimates_end_within_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tokenizer hangs, calls lose their estimate after a second, queued calls included."""
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
    """A streamed body, or one that is too large, is not counted."""
    body_less = Call("text_completion", http_status=200)
    assert estimated(body_less, sent).usage is None
