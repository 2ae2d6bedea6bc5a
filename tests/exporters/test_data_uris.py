"""Data URIs in prompts are replaced by their digests, whatever their size, and nothing else is changed."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings

from exporters import data_uris
from exporters.data_uris import LARGE, PIECE, without_data_uris
from exporters.record import Json, parse
from otel.call import Answer, Choice, Request
from tests.exporters.calls import JSON, TEXT, a_call, asking, line_of
from tests.kit.hub import SCHEMA, checked

PIXELS = bytes(range(256)) * 40
URI = "data:image/png;base64," + base64.b64encode(PIXELS).decode()
DIGEST = {"media_type": "image/png", "bytes": len(PIXELS), "sha256": hashlib.sha256(PIXELS).hexdigest()}


def test_a_data_uri_becomes_its_digest() -> None:
    """Every base64 data URI in the prompt is replaced by media type, size and digest of its content; the rest of the
    record is unchanged, data URIs in the response included."""
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


def test_the_other_members_of_a_request_are_searched_too() -> None:
    """Such as a prediction."""
    line = line_of(a_call(members=json.dumps({"user": "x", "prediction": {"content": URI}})))
    after = checked(json.loads(without_data_uris(line)))
    assert after["request"] == {"user": "x", "prediction": {"content": DIGEST}}


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
    """With parameters, without a media type, empty, or with invalid base64, whose text is digested as it is."""
    found = json.loads(without_data_uris(asking([text])))["prompt"]
    digest = hashlib.sha256(content).hexdigest()
    assert found == [{"media_type": media_type, "bytes": len(content), "sha256": digest}]


@pytest.mark.parametrize("text", ["data:", "data:image/png,plain", "see data:image/png;base64,aGk=", "DATA", ""])
def test_other_strings_are_unchanged(text: str) -> None:
    """Strings that are not base64 data URIs stay as they are."""
    assert json.loads(without_data_uris(asking([text])))["prompt"] == [text]


@settings(deadline=None)
@given(JSON, TEXT)
@example({"a": 2**70, "\ud800": "\ud800"}, "\ud800")
def test_a_record_without_data_uris_is_unchanged(prompt: Any, text: str) -> None:
    """Except for lone surrogates, which become question marks."""
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


LARGE_BASE64 = base64.b64encode(bytes(range(256)) * (PIECE // 128)).decode()


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(LARGE_BASE64, id="pieces"),
        pytest.param(LARGE_BASE64[: 2 * PIECE], id="whole pieces"),
        pytest.param(LARGE_BASE64[: LARGE + 2] + "==", id="padded"),
        pytest.param(LARGE_BASE64[: LARGE + 2], id="not padded"),
        pytest.param(LARGE_BASE64[: PIECE - 2] + "==" + LARGE_BASE64, id="padded within"),
        pytest.param(LARGE_BASE64 + "ü", id="no base64"),
        pytest.param(LARGE_BASE64[:PIECE] + "-" + LARGE_BASE64, id="no base64 later on"),
    ],
)
def test_a_large_data_uri_has_the_same_digest(encoded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones are decoded piece by piece, with the same digest, and cut out before parsing: a record of tens of
    megabytes must not block the interpreter, which the calls need too."""
    parsed: list[int] = []

    def watched(line: bytes) -> Json:
        parsed.append(len(line))
        return parse(line)

    line = asking(["before", {"url": "data:image/png;base64," + encoded}, "between", "data:;base64," + encoded, URI])
    monkeypatch.setattr(data_uris, "parse", watched)
    large = without_data_uris(line)
    monkeypatch.setattr(data_uris, "LARGE", len(line))
    assert large == without_data_uris(line)
    assert json.loads(large)["prompt"][4] == DIGEST
    assert parsed[0] < 20_000 + len(URI)
    assert parsed[1] == len(line)


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param(r'"data:image\/png;base64,%s"', id="escaped slash before"),
        pytest.param(r'"data:image/png;base64,%s\/+=="', id="escaped slash within"),
        pytest.param(r'"say \"data:image/png;base64,%s\""', id="a text within a text"),
        pytest.param('{"data:image/png;base64,%s" : 1}', id="a name"),
        pytest.param('["data:image/png;base64,%s", 1]', id="in a list"),
        pytest.param('["data:image/png;base64,AAAA", "data:", "\\\\", "data:image/png;base64,%s"]', id="behind others"),
    ],
)
def test_the_position_of_a_large_data_uri_does_not_matter(prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the client wrote its JSON, the record is the same as with a small data URI."""
    text = prompt % LARGE_BASE64
    line = line_of(a_call(request=Request(prompt=text), answer=Answer(choices=[Choice(content=URI + LARGE_BASE64)])))
    large = without_data_uris(line)
    monkeypatch.setattr(data_uris, "LARGE", len(line))
    assert large == without_data_uris(line)
    assert json.loads(large)["content"] == URI + LARGE_BASE64


def test_a_line_that_ends_within_a_large_data_uri_is_refused() -> None:
    """It raises ValueError."""
    with pytest.raises(ValueError, match="Unterminated"):
        without_data_uris(asking([URI + LARGE_BASE64])[: LARGE * 2])
