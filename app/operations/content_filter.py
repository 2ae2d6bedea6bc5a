"""The content filter's verdicts, from wherever an answer has them, collected as `prompt` and `completion`.

A verdict may quote the text it is about, for example with names redacted. That is content, which may be kept out of the
record; so only a verdict's outcome is kept.
"""

from typing import Final

from app.operations.operation import Json
from app.operations.wire import as_list, as_object
from otel.call import Call

_SAFE: Final = {"filtered": False, "severity": "safe"}
"""Nearly every result: one shared object, since each open stream holds eight."""

_NAMES: Final = frozenset({"severity", "id", "sub_category", "code", "license", "URL"})
"""Members whose text is one of the service's own words, a name given by the resource's owner (`id`, of a blocklist or a
topic), or the source of generated public code."""
_LONGEST_NAME: Final = 256
_DEEPEST: Final = 4
BLOCKED: Final = frozenset({"content_filter", "content_policy_violation"})
"""The codes of errors for a blocked prompt."""


def note_verdict(found: dict[str, object], subject: str, verdict: object) -> None:
    """Add a verdict (categories to results) on a subject: `prompt` or `completion`.

    Later verdicts cover more text, so they replace earlier ones, except for those that blocked.
    """
    results = as_object(verdict)
    known = found.get(subject)
    if not results or results == known:  # nearly every chunk repeats the previous verdict
        return
    if not isinstance(known, dict):
        found[subject] = {category: _outcome(result) for category, result in results.items()}
        return
    for category, result in results.items():
        if as_object(known.get(category)).get("filtered") is not True:
            known[category] = _outcome(result)


def note_choice(found: dict[str, object], choice: Json) -> None:
    """Add the verdict on a choice, or the error that stands in its place (`content_filter_result`, singular) when the
    filter did not run."""
    if verdict := choice.get("content_filter_results") or choice.get("content_filter_result"):
        note_verdict(found, "completion", verdict)


def note_prompt_results(found: dict[str, object], results: object) -> None:
    """Add `prompt_filter_results`: one entry per prompt."""
    for entry in as_list(results):
        prompt = as_object(entry)
        note_verdict(found, "prompt", prompt.get("content_filter_results", prompt.get("content_filter_result")))


def note_filters(found: dict[str, object], filters: object) -> None:
    """Add `content_filters` of the Responses API: each entry names its subject as `source_type`."""
    for entry in as_list(filters):
        verdict = as_object(entry)
        subject = verdict.get("source_type")
        if subject in ("prompt", "completion"):
            note_verdict(found, str(subject), verdict.get("content_filter_results"))


def note_error(found: dict[str, object], error: Json) -> None:
    """Add the verdict on a blocked prompt from an error; each API has its own place for it."""
    note_filters(found, error.get("content_filters"))
    inner = as_object(error.get("innererror", error.get("inner_error")))
    for name in ("content_filter_result", "content_filter_results"):
        note_verdict(found, "prompt", inner.get(name))


def is_flagged(call: Call) -> bool:
    """Whether the filter blocked or detected something, or rated it above safe."""
    return (
        call.error_code in BLOCKED
        or any(choice.finish_reason == "content_filter" for choice in call.answer.choices)
        or _tells_more_than_safe(call.answer.content_filter)
    )


def _tells_more_than_safe(result: object) -> bool:
    match result:
        case {"filtered": True} | {"detected": True}:
            return True
        case {"severity": str(severity)} if severity != "safe":
            return True
        case dict():
            return any(map(_tells_more_than_safe, result.values()))
        case list():
            return any(map(_tells_more_than_safe, result))
    return False


def _outcome(result: object) -> object:
    """A category's result without any text of the prompt or the answer."""
    return _SAFE if result == _SAFE else _without_text(result, 0)


def _without_text(value: object, depth: int) -> object:
    """The booleans, numbers and names of a result; None for anything else."""
    if isinstance(value, bool | int | float):
        return value
    if depth == _DEEPEST:
        return None
    if isinstance(value, dict):
        members = (
            (name, member if _is_name(name, member) else _without_text(member, depth + 1))
            for name, member in value.items()
        )
        return {name: member for name, member in members if member is not None}
    if isinstance(value, list):
        return [kept for member in value if (kept := _without_text(member, depth + 1)) is not None]
    return None


def _is_name(member: str, value: object) -> bool:
    return member in _NAMES and isinstance(value, str) and len(value) <= _LONGEST_NAME
