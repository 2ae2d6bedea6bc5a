"""Records too large for the hub are made to fit, marked and still valid, whatever their content."""

import json
import random
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.operations.json_text import dump, load
from exporters.data_uris import without_data_uris
from exporters.oversize import shortened
from exporters.record import parse
from otel.call import Answer, Call, Choice, Request, Status, ToolCall, Usage
from tests.exporters.calls import CALLS, a_call, asking, line_of
from tests.kit.hub import checked


def _without_lone_surrogates(value: object) -> object:
    """The value as a shortened record has it: UTF-8 cannot encode lone surrogates."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def short(line: bytes, limit: int, **more: str | int) -> dict[str, Any]:
    """The shortened record, checked for its invariants."""
    cut = shortened(line, limit, content_bytes=len(line), **more)
    assert len(cut) <= limit
    record = checked(json.loads(cut.decode()))
    whole = parse(line)
    for name in ("type", "id", "trace_id", "span_id", "timestamp", "status", "usage", "latency_ms"):
        assert record.get(name) == _without_lone_surrogates(whole.get(name)), name
    assert record["truncated"] is True
    assert record["content_bytes"] == len(line)
    return record


def test_the_longest_strings_are_cut_first() -> None:
    """A long string is cut and ends in an ellipsis; short ones stay whole."""
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


def test_a_record_that_fits_keeps_every_string() -> None:
    """It is only marked, and gets the additional fields."""
    line = asking("hello", caller={"user_id": "u"})
    record = short(line, 10_000, content_ref="https://example.invalid/records/" + "x" * 200)
    assert record["content_ref"].endswith("x" * 200)
    del record["truncated"], record["content_bytes"], record["content_ref"]
    assert record == parse(line)


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param([f"{number:040d}" for number in range(5000)], id="many short strings"),
        pytest.param([[] for _ in range(50_000)], id="no strings"),
        pytest.param({f"{number:040d}": 1 for number in range(5000)}, id="keys"),
        pytest.param(list(range(10**9, 10**9 + 20_000)), id="numbers"),
    ],
)
def test_a_prompt_that_cannot_be_cut_is_left_out(prompt: Any) -> None:
    """If cutting strings is not enough, the prompt is left out; response and caller stay."""
    line = asking(prompt, caller={"user_id": "user-7"}, answer=Answer(choices=[Choice(content="an answer")]))
    record = short(line, 20_000)
    assert (record["prompt"], record["content"], record["caller"]) == (None, "an answer", {"user_id": "user-7"})


def test_a_response_that_cannot_be_cut_is_left_out_too() -> None:
    """With thousands of tool calls only names, times, counts, caller and error stay."""
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
def test_any_field_may_be_large(field: str) -> None:
    """A megabyte from client or upstream where a name belongs is cut like any other string."""
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
def test_deeply_nested_prompts_fit(depth: int) -> None:
    """A prompt nested as deeply as a request may be is made to fit or left out, in any thread, and nothing is raised
    that would make the sender retry forever."""
    prompt = "[" * depth + '"' + "x" * 40_000 + '"' + "]" * depth
    load(b'{"messages":' + prompt.encode() + b"}")
    line = line_of(a_call(request=Request(prompt=prompt), answer=Answer(choices=[Choice(content="kept")])))
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(short(without_data_uris(line), 20_000)))
    thread.start()
    thread.join()
    assert found[0]["content"] == "kept"
    assert (found[0]["prompt"] is None) == (depth >= 1000)


def test_a_prompt_nested_too_deeply_to_parse_is_left_out() -> None:
    """The fields before the prompt are kept."""
    prompt = "[" * 200_000 + "]" * 200_000
    line = line_of(
        a_call(request=Request("m", prompt=prompt), region="here", error_code="c", error_message=',"prompt":')
    )
    assert without_data_uris(line) == line
    cut = checked(json.loads(shortened(line, 10_000, content_bytes=len(line))))
    assert (cut["region"], cut["prompt"], cut["truncated"], cut["content"]) == ("here", None, True, "")
    assert cut["error"] == {"code": "c", "message": ',"prompt":'}


@pytest.mark.parametrize("line", [b"", b"[]", b'{"type":"completion","schema_version":1,"id":"1","trace'])
def test_a_line_that_is_not_a_record_raises_value_error(line: bytes) -> None:
    """For any line that is not a JSON object, and nothing else is raised."""
    for function in (without_data_uris, lambda line: shortened(line, 10_000)):
        with pytest.raises(ValueError, match=r"not a record|Expecting|Unterminated"):
            function(line)


@settings(deadline=None)
@given(CALLS, st.integers(8192, 20_000), st.integers(0, 200_000), st.randoms(use_true_random=False))
def test_any_call_fits(call: Call, limit: int, length: int, choose: random.Random) -> None:
    """Any call, with a large string anywhere: within the limit, valid by the schema, and marked."""
    place = choose.choice(["prompt", "content", "tool", "caller", "error"])
    text = choose.choice(["x", "é", "\n", "\x00", "\ud800", "😀"]) * length
    match place:
        case "prompt":
            call.request = Request(prompt=dump([text, load(str(call.request.prompt or "1").encode())]))
        case "content":
            call.answer.choices.append(Choice(content=text))
        case "tool":
            call.answer.choices.append(Choice(tool_calls=[ToolCall(None, text, text)]))
        case "caller":
            call.caller = {"user_id": text}
        case "error":
            call.error_code, call.error_message = "code", text
    line = line_of(call)
    line = without_data_uris(line) if len(line) % 2 else line
    assert short(line, limit)["content_bytes"] == len(line)
