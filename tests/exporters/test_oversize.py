"""Records too large for the hub: made to fit, still valid, and saying so; never refused for what is in them."""

import base64
import hashlib
import json
import random
import threading
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.operations.json_text import dump, load
from exporters.oversize import shortened, without_data_uris
from exporters.record import parse
from otel.call import Answer, Call, Choice, Request, Status, ToolCall, Usage
from tests.exporters.calls import CALLS, JSON, TEXT, a_call, line_of
from tests.kit.hub import SCHEMA, checked

PIXELS = bytes(range(256)) * 40
URI = "data:image/png;base64," + base64.b64encode(PIXELS).decode()
DIGEST = {"media_type": "image/png", "bytes": len(PIXELS), "sha256": hashlib.sha256(PIXELS).hexdigest()}


def asking(prompt: object, **more: Any) -> bytes:
    """The line of a call with that prompt."""
    return line_of(a_call(request=Request(prompt=dump(prompt)), **more))


def short(line: bytes, limit: int, **more: str | int) -> dict[str, Any]:
    """The shortened record, checked for what must always hold."""
    cut = shortened(line, limit, content_bytes=len(line), **more)
    assert len(cut) <= limit
    record = checked(json.loads(cut.decode()))
    whole = parse(line)
    for name in ("type", "id", "trace_id", "span_id", "timestamp", "status", "usage", "latency_ms"):
        assert record.get(name) == whole.get(name), name
    assert record["truncated"] is True
    assert record["content_bytes"] == len(line)
    return record


def test_a_data_uri_becomes_its_digest() -> None:
    """Every base64 data URI in the prompt gives way to media type, size and digest of what it holds; the rest of the
    record is as it was, data URIs in the answer included."""
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": URI, "detail": "low"}},
    ]
    line = asking([{"role": "user", "content": parts}], answer=Answer(choices=[Choice(content=URI)]))
    before, after = parse(line), checked(json.loads(without_data_uris(line)))
    assert after["prompt"][0]["content"] == [
        parts[0],
        {"type": "image_url", "image_url": {"url": DIGEST, "detail": "low"}},
    ]
    assert {**after, "prompt": None} == {**before, "prompt": None}
    assert list(after) == list(before)


@pytest.mark.parametrize(
    ("text", "media_type", "content"),
    [
        ("data:;base64,aGk=", "text/plain", b"hi"),
        ("data:audio/wav;codecs=1;base64,aGk=", "audio/wav", b"hi"),
        ("data:text/plain;charset=utf-8;base64,", "text/plain", b""),
        ("data:image/png;base64,no base64!", "image/png", b"no base64!"),
        ("data:image/png;base64,aGk", "image/png", b"aGk"),
        ("data:image/png;base64,ü", "image/png", "ü".encode()),
        ("data:image/png;base64,\ud800", "image/png", b"?"),
    ],
)
def test_any_data_uri_has_a_digest(text: str, media_type: str, content: bytes) -> None:
    """Parameters, no media type, nothing in it, no base64 at all: there is a digest, of the text itself if need be."""
    found = json.loads(without_data_uris(asking([text])))["prompt"]
    digest = hashlib.sha256(content).hexdigest()
    assert found == [{"media_type": media_type, "bytes": len(content), "sha256": digest}]


@pytest.mark.parametrize("text", ["data:", "data:image/png,plain", "see data:image/png;base64,aGk=", "DATA", ""])
def test_other_texts_are_left_alone(text: str) -> None:
    """What is no base64 data URI stays as it is."""
    assert json.loads(without_data_uris(asking([text])))["prompt"] == [text]


def test_the_longest_texts_are_cut_first() -> None:
    """A long text is cut and says so with an ellipsis; short ones beside it stay whole."""
    line = asking(
        [{"role": "user", "content": "x" * 50_000}, {"role": "user", "content": "short"}],
        answer=Answer(choices=[Choice(content="an answer", finish_reason="stop")], usage=Usage(1, 2, 3)),
    )
    record = short(line, 10_000)
    first, second = record["prompt"]
    assert first["content"] == "x" * (len(first["content"]) - 1) + "…"
    assert len(first["content"]) > 2_000
    assert second["content"] == "short"
    assert record["content"] == "an answer"
    assert record["finish_reasons"] == ["stop"]


def test_what_fits_keeps_every_text() -> None:
    """A record that is small enough is only marked and given what was to be added."""
    line = asking("hello", caller={"user_id": "u"})
    record = short(line, 10_000, content_ref="https://example.invalid/records/" + "x" * 200)
    assert record["content_ref"].endswith("x" * 200)
    del record["truncated"], record["content_bytes"], record["content_ref"]
    assert record == parse(line)


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param([f"{number:040d}" for number in range(5000)], id="many small texts"),
        pytest.param([[] for _ in range(50_000)], id="no text at all"),
        pytest.param({f"{number:040d}": 1 for number in range(5000)}, id="names"),
        pytest.param(list(range(10**9, 10**9 + 20_000)), id="numbers"),
    ],
)
def test_a_prompt_that_cannot_be_cut_is_left_out(prompt: Any) -> None:
    """Where shorter texts do not help the prompt goes, and the answer and the caller stay."""
    line = asking(prompt, caller={"user_id": "user-7"}, answer=Answer(choices=[Choice(content="an answer")]))
    record = short(line, 20_000)
    assert (record["prompt"], record["content"], record["caller"]) == (None, "an answer", {"user_id": "user-7"})


def test_an_answer_that_cannot_be_cut_is_left_out_too() -> None:
    """Thousands of tool calls: names, times, counts, caller and error stay."""
    tools = [ToolCall(f"call_{number}", "f", "{}") for number in range(5000)]
    line = asking(
        "ask",
        caller={"user_id": "user-7"},
        answer=Answer(id="r1", choices=[Choice(content="text", tool_calls=tools)] * 2, usage=Usage(1, 2, 3)),
        status=Status.UPSTREAM_ERROR,
        error_code="cut",
        error_message="m" * 9000,
    )
    record = short(line, 8192)
    assert (record["content"], record["response_id"], record["caller"]) == ("", "r1", {"user_id": "user-7"})
    assert record["error"]["code"] == "cut"
    assert not {"tool_calls", "choices"} & set(record)


@pytest.mark.parametrize("field", ["caller", "model", "region", "error", "instructions", "reasoning"])
def test_any_field_may_be_the_large_one(field: str) -> None:
    """A client or an upstream that puts a megabyte where a name belongs: it is cut like any other text."""
    huge = "é" * 1_000_000
    given: dict[str, dict[str, Any]] = {
        "caller": {"caller": {"user_id": huge}},
        "model": {"request": Request(huge), "deployment": huge},
        "region": {"region": huge},
        "error": {"error_code": huge, "error_message": huge},
        "instructions": {"request": Request(instructions=dump(huge))},
        "reasoning": {"answer": Answer(choices=[Choice(reasoning=huge)])},
    }
    record = short(line_of(a_call(**given[field])), 8192)
    found = record["caller"]["user_id"] if field == "caller" else record[field]
    assert str(found["code"] if field == "error" else found).startswith("é" * 64)


@pytest.mark.parametrize("depth", [100, 250, 300, 900, 1000, 1100, 5000, 9900])
def test_depth_does_no_harm(depth: int) -> None:
    """A prompt nested as deep as a request may be: it is made to fit or left out, in any thread, and nothing is
    raised that would have the record tried for ever."""
    prompt = "[" * depth + '"' + "x" * 40_000 + '"' + "]" * depth
    load(b'{"messages":' + prompt.encode() + b"}")
    line = line_of(a_call(request=Request(prompt=prompt), answer=Answer(choices=[Choice(content="kept")])))
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(short(without_data_uris(line), 20_000)))
    thread.start()
    thread.join()
    assert found[0]["content"] == "kept"
    assert (found[0]["prompt"] is None) == (depth >= 1000)


def test_deeper_than_can_be_read() -> None:
    """A line that cannot be parsed for its depth is known by what stands before its prompt."""
    prompt = "[" * 200_000 + "]" * 200_000
    line = line_of(
        a_call(request=Request("m", prompt=prompt), region="here", error_code="c", error_message=',"prompt":')
    )
    assert without_data_uris(line) == line
    cut = checked(json.loads(shortened(line, 10_000, content_bytes=len(line))))
    assert (cut["region"], cut["prompt"], cut["truncated"], cut["content"]) == ("here", None, True, "")
    assert cut["error"] == {"code": "c", "message": ',"prompt":'}


@pytest.mark.parametrize("line", [b"", b"[]", b'{"type":"completion","schema_version":1,"id":"1","trace'])
def test_what_is_no_record_is_told(line: bytes) -> None:
    """A line that holds no JSON object raises ValueError and nothing else."""
    for function in (without_data_uris, lambda line: shortened(line, 10_000)):
        with pytest.raises(ValueError, match=r"not a record|Expecting|Unterminated"):
            function(line)


@settings(deadline=None)
@given(CALLS, st.integers(8192, 20_000), st.integers(0, 200_000), st.randoms(use_true_random=False))
def test_whatever_is_said_it_fits(call: Call, limit: int, length: int, choose: random.Random) -> None:
    """Any call, blown up anywhere: at most the limit, by the schema, and marked."""
    blown = choose.choice(["prompt", "content", "tool", "caller", "error"])
    text = choose.choice(["x", "é", "\n", "\x00", "\ud800", "😀"]) * length
    match blown:
        case "prompt":
            call.request = Request(prompt=dump([text, load((call.request.prompt or "1").encode())]))
        case "content":
            call.answer.choices.append(Choice(content=text))
        case "tool":
            call.answer.choices.append(Choice(tool_calls=[ToolCall(None, text, text)]))
        case "caller":
            call.caller = {"user_id": text}
        case "error":
            call.error_code, call.error_message = "code", text
    line = line_of(call)
    short(without_data_uris(line), limit) if len(line) % 2 else short(line, limit)


@settings(deadline=None)
@given(JSON, TEXT)
@example({"a": 2**70, "\ud800": "\ud800"}, "\ud800")
def test_digests_change_nothing_else(prompt: Any, text: str) -> None:
    """What holds no data URI is the same afterwards, lone surrogates aside, which become question marks."""
    line = asking([prompt, text])
    after = json.loads(without_data_uris(line))
    SCHEMA.validate(after)
    whole = json.dumps(json.loads(line), ensure_ascii=False)
    try:
        whole.encode()
    except UnicodeEncodeError:
        assert after == json.loads(whole.encode("utf-8", "replace"))
    else:
        assert after == parse(line)
