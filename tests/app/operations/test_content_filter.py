"""The content filter's verdicts: outcomes are kept, quoted text is not."""

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
def test_a_result_keeps_no_text(result: Any, kept: Any) -> None:
    """Booleans, numbers and names in the documented shapes stay; text does not, in any place."""
    found: dict[str, object] = {}
    note_verdict(found, "completion", {"some_category": result})
    assert found == {"completion": {"some_category": kept}}


def test_a_merged_result_keeps_no_text() -> None:
    """The same applies when a verdict is merged into an earlier one."""
    found: dict[str, object] = {}
    note_verdict(found, "prompt", {"hate": {"filtered": False, "severity": "safe"}})
    note_verdict(found, "prompt", {"personally_identifiable_information": PERSONAL})
    assert found["prompt"] == {
        "hate": {"filtered": False, "severity": "safe"},
        "personally_identifiable_information": PERSONAL_KEPT,
    }


def test_verdicts_are_found_in_every_place() -> None:
    """Each API has its own place for a verdict, and for that on a blocked prompt."""
    verdict = {"personally_identifiable_information": PERSONAL}
    places: list[tuple[Any, Any]] = [
        (note_prompt_results, [{"prompt_index": 0, "content_filter_results": verdict}]),
        (note_filters, [{"source_type": "prompt", "content_filter_results": verdict}]),
        (note_error, {"innererror": {"content_filter_result": verdict}}),
        (note_error, {"inner_error": {"content_filter_results": verdict}}),
        (note_error, {"content_filters": [{"source_type": "prompt", "content_filter_results": verdict}]}),
    ]
    for note, given in places:
        found: dict[str, object] = {}
        note(found, given)
        assert found == {"prompt": {"personally_identifiable_information": PERSONAL_KEPT}}
