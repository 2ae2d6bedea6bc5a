"""What is kept of the content filter's verdicts: how each turned out, and none of the text that it is about."""

from typing import Any

import pytest

from app.operations.content_filter import note_error, note_filters, note_prompt_results, note_verdict

PERSONAL = {
    "filtered": False,
    "redacted": True,
    "redacted_text": "planted",
    "sub_categories": [
        {"sub_category": "Email", "filtered": False, "detected": True, "redacted": True, "text": "planted"}
    ],
}
PERSONAL_KEPT = {
    "filtered": False,
    "redacted": True,
    "sub_categories": [{"sub_category": "Email", "filtered": False, "detected": True, "redacted": True}],
}


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ({"filtered": True, "severity": "high"}, {"filtered": True, "severity": "high"}),
        (PERSONAL, PERSONAL_KEPT),
        (
            {"filtered": True, "details": [{"id": "rivals", "filtered": True, "matched": "planted"}]},
            {"filtered": True, "details": [{"id": "rivals", "filtered": True}]},
        ),
        ([{"id": "rivals", "filtered": False}], [{"id": "rivals", "filtered": False}]),
        (
            {"detected": True, "citation": {"URL": "https://github.com/a/b", "license": "MIT", "snippet": "planted"}},
            {"detected": True, "citation": {"URL": "https://github.com/a/b", "license": "MIT"}},
        ),
        (
            {"detected": True, "details": [{"completion_start_offset": 3, "completion_end_offset": 9}]},
            {"detected": True, "details": [{"completion_start_offset": 3, "completion_end_offset": 9}]},
        ),
        ({"code": "content_filter_error", "message": "planted"}, {"code": "content_filter_error"}),
        ({"severity": "planted" * 100, "id": {"planted": "planted"}}, {"id": {}}),
        ("planted", None),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, {"a": {"b": {"c": {}}}}),
    ],
)
def test_what_is_kept_of_a_result(result: Any, kept: Any) -> None:
    """By the shapes that the API documents: truth values, numbers, names; no text, however deep, long or odd."""
    found: dict[str, object] = {}
    note_verdict(found, "completion", {"some_category": result})
    assert found == {"completion": {"some_category": kept}}


def test_a_later_result_is_kept_so_too() -> None:
    """Also where a verdict is merged into the one before."""
    found: dict[str, object] = {}
    note_verdict(found, "prompt", {"hate": {"filtered": False, "severity": "safe"}})
    note_verdict(found, "prompt", {"personally_identifiable_information": PERSONAL})
    assert found["prompt"] == {
        "hate": {"filtered": False, "severity": "safe"},
        "personally_identifiable_information": PERSONAL_KEPT,
    }


def test_wherever_it_stands() -> None:
    """All places where a verdict may come keep as much of it."""
    verdict = {"personally_identifiable_information": PERSONAL}
    places: list[tuple[Any, Any]] = [
        (note_prompt_results, [{"prompt_index": 0, "content_filter_results": verdict}]),
        (note_filters, [{"source_type": "prompt", "content_filter_results": verdict}]),
        (note_error, {"innererror": {"content_filter_result": verdict}}),
    ]
    for note, given in places:
        found: dict[str, object] = {}
        note(found, given)
        assert found == {"prompt": {"personally_identifiable_information": PERSONAL_KEPT}}
