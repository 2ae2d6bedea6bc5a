"""Repeats: unparsed events give the same answer as parsed ones."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.repeats import Repeats
from app.operations.choices import ChoiceStream
from otel.call import Answer
from tests.app.operations.shapes import BLOCKED, SAFE, SSE, Json, read

CHAT = "chat/completions"


def chunk(delta: Json, **more: Any) -> Json:
    """A chunk as Azure sends it; `more` replaces members of its choice, or of the chunk if in upper case."""
    outer = {name.lower(): more.pop(name) for name in list(more) if name.isupper()}
    choice = {
        "content_filter_results": SAFE,
        "delta": delta,
        "finish_reason": None,
        "index": 0,
        "logprobs": None,
    } | more
    return {"choices": [choice], "created": 1, "id": "chatcmpl-1", "model": "gpt-4o", "obfuscation": "aB3"} | outer


def parsed(events: list[Json], member: str = "delta") -> Answer:
    """The answer if all events are parsed."""
    stream, answer = ChoiceStream(member), Answer()
    for event in events:
        stream.event(event)
    stream.finish(answer)
    return answer


def scanned(events: list[Json], suffix: str = CHAT, ensure_ascii: bool = False) -> Answer:
    """The answer by way of the bytes, in one chunk."""
    texts = [json.dumps(event, ensure_ascii=ensure_ascii, separators=(",", ":")) for event in events]
    body = "".join(f"data: {text}\n\n" for text in texts).encode()
    answer = read(suffix, [body], SSE).answer
    answer.usage_source = "missing"  # not set by ChoiceStream
    return answer


class Counted:
    """Counts the events that were not parsed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events = 0
        more = ChoiceStream.add_text

        def counted(stream: ChoiceStream, text: str) -> None:
            self.events += 1
            more(stream, text)

        monkeypatch.setattr(ChoiceStream, "add_text", counted)


def test_only_the_first_of_equal_events_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the text nor its padding matters."""
    counted = Counted(monkeypatch)
    events = [
        chunk({"content": word}, OBFUSCATION="x" * place) for place, word in enumerate(["so", "it", "goes", "✓"], 1)
    ]
    assert scanned(events) == parsed(events)
    assert counted.events == 3


def test_repeated_completions_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same applies to the text of completions."""
    counted = Counted(monkeypatch)
    events: list[Json] = [{"id": "c", "choices": [{"text": word, "index": 0, "logprobs": None}]} for word in "abc"]
    assert scanned(events, "completions") == parsed(events, "text")
    assert counted.events == 2


@pytest.mark.parametrize(
    "other",
    [
        chunk({"content": "b"}, index=1),
        chunk({"content": "b"}, finish_reason="stop"),
        chunk({"content": "b"}, content_filter_results=BLOCKED),
        chunk({"content": "b"}, ID="chatcmpl-2"),
        chunk({}, content_filter_results={"hate": {"filtered": False, "severity": "low"}}),
        chunk({"content": "b"}, OBFUSCATION='"'),
        chunk({"content": "b", "refusal": "no"}),
        chunk({"content": "", "role": "assistant"}),
        chunk({"content": None, "tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{"}}]}),
        chunk({"content": 'a "quote"'}),
        chunk({"content": "a\nline"}),
        chunk({"content": "\ud800"}),
        chunk({"reasoning_content": "hm"}),
        chunk({}),
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
    ],
)
def test_any_other_event_is_parsed(other: Json) -> None:
    """The events after it are compared with it, not with those before."""
    a, c = chunk({"content": "a"}), chunk({"content": "c"})
    events = [a, c, other, other, a, c, other, a]
    for ensure_ascii in (True, r"\ud800" in str(other)):  # UTF-8 has no lone surrogates, only escapes
        assert scanned(events, ensure_ascii=ensure_ascii) == parsed(events)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x", "role": "assistant"},
        {"content": "x", "tool_calls": [{"index": 0, "function": {"arguments": "1"}}]},
        {"content": "x", "refusal": "y"},
        {"context": {"citations": [{"content": "not said"}]}, "content": "said"},
        {"refusal": "x"},
    ],
)
def test_events_with_more_than_a_text_are_always_parsed(delta: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that adds more than a text is never taken as a repeat."""
    counted = Counted(monkeypatch)
    events = [chunk(delta)] * 3
    assert scanned(events) == parsed(events)
    assert counted.events == 0


def test_chunks_with_two_choices_are_always_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeat has one choice."""
    counted = Counted(monkeypatch)
    both = chunk({"content": "a"})["choices"] + chunk({"content": "a"}, index=1)["choices"]
    events = [chunk({"content": "a"}), *[chunk({}, CHOICES=both)] * 3]
    assert scanned(events) == parsed(events)
    assert counted.events == 0


def test_a_text_elsewhere_is_not_output() -> None:
    """A `content` in the verdict is not the choice's text."""
    events = [chunk({"content": "said"}, content_filter_results={"cited": {"content": text}}) for text in "abc"]
    assert scanned(events) == parsed(events)


def test_a_duplicate_member_is_not_compared() -> None:
    """The last one counts (RFC 8259 §4 leaves it open), and either could differ."""
    repeats = Repeats()
    repeats.remember(b'{"content":"x","content":"x"}', "x")
    assert repeats.text_of(b'{"content":"y","content":"x"}') is None


@pytest.mark.parametrize(
    "bad", [b'{"a":"content":"\xff"}', b'{"a":"content":"x', b'{"a":"content":"x"', b'{"a":"content":"\x01"}', b""]
)
def test_invalid_json_is_no_repeat(bad: bytes) -> None:
    """Invalid bytes are left to the parser."""
    repeats = Repeats()
    repeats.remember(b'{"a":"content":"x"}', "x")
    assert repeats.text_of(b'{"a":"content":"y"}') == "y"
    assert repeats.text_of(bad) is None


texts = st.text(max_size=8) | st.sampled_from([" the", "✨", "\\", '"', '","content":"', "\u2028", "\x00"])
deltas: st.SearchStrategy[dict[str, str | None]] = st.one_of(
    st.fixed_dictionaries({"content": texts}, optional={"refusal": st.none() | texts, "role": st.just("assistant")}),
    st.fixed_dictionaries({"reasoning_content": texts}),
    st.just({}),
)
chunks = st.builds(
    chunk,
    deltas,
    index=st.sampled_from([0, 0, 0, 1]),
    finish_reason=st.sampled_from([None, None, None, "stop"]),
    content_filter_results=st.sampled_from([SAFE, SAFE, {}, BLOCKED]),
    OBFUSCATION=st.sampled_from(["a", "bc", "", "-", '"']),
)


@given(st.lists(chunks, min_size=1, max_size=12), st.booleans())
def test_any_stream_gives_the_parsed_answer(events: list[Json], ensure_ascii: bool) -> None:
    """The answer never depends on which events were parsed."""
    assert scanned(events, ensure_ascii=ensure_ascii) == parsed(events)
