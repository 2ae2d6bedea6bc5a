"""Which texts the slower parser is asked about: those that may be valid, and no other."""

import json
from typing import Any

import pytest

from app.operations.json_text import load


@pytest.mark.parametrize(
    ("text", "value", "asked"),
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
def test_only_what_may_be_valid_is_parsed_again(
    text: bytes, value: Any, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large body that is merely broken costs no second, slower look at it."""
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
    assert bool(calls) is asked
