"""JSON that orjson rejects: only what may be valid goes to the slower parser."""

import json
from typing import Any

import pytest

from app.operations.json_text import load


@pytest.mark.parametrize(
    ("text", "value", "again"),
    [
        (b'{"a":1}', {"a": 1}, False),
        (b'"\\ud800"', "\ud800", True),
        (b'"\\udc00"', "\udc00", True),
        (b"[1e999]", ["1e999"], True),
        (b"\xef\xbb\xbf[]", [], True),
        (b'{"a":', None, False),
        (b"[1,]", None, False),
        (b"NaN", None, False),
        (b"", None, False),
    ],
)
def test_only_possibly_valid_texts_are_parsed_again(
    text: bytes, value: Any, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid text costs no second, slower attempt."""
    calls, real = [], json.loads

    def loads(text: str, **options: Any) -> Any:
        calls.append(text)
        return real(text, **options)

    monkeypatch.setattr(json, "loads", loads)
    if value is None:
        with pytest.raises(ValueError, match="byte"):
            load(text)
    else:
        assert load(text) == value
    assert bool(calls) is again
