"""The content filter's verdicts, wherever an answer has them, gathered as `prompt` and `completion`.

A verdict may quote what it is about, such as the text without the names that were found in it. That is content, which
a record may not be allowed to have; so of a verdict only what says how it turned out is kept.
"""

from typing import Final

from app.operations.operation import Json
from app.operations.wire import as_list, as_object

_SAFE: Final = {"filtered": False, "severity": "safe"}
"""What nearly every result is: one object for all of them, since each open stream holds eight."""

_NAMES: Final = frozenset({"severity", "id", "sub_category", "code", "license", "URL"})
"""Members whose text is a word of the service's, a name that the owner of the resource gave (`id`, of a blocklist or
a topic), or where public code that was generated is known from."""
_LONGEST_NAME: Final = 256
_DEEPEST: Final = 4


def note_verdict(found: dict[str, object], subject: str, verdict: object) -> None:
    """Add a verdict, categories to results, on a subject: `prompt` or `completion`.

    Later verdicts are about more text, so they replace those of earlier ones, unless these blocked.
    """
    results = as_object(verdict)
    known = found.get(subject)
    if not results or results == known:  # nearly every chunk of a stream repeats the one before
        return
    if not isinstance(known, dict):
        found[subject] = {category: _outcome(result) for category, result in results.items()}
        return
    for category, result in results.items():
        if as_object(known.get(category)).get("filtered") is not True:
            known[category] = _outcome(result)


def note_prompt_results(found: dict[str, object], results: object) -> None:
    """Add `prompt_filter_results`: one entry for each prompt that was sent."""
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
    """Add what an error says of the prompt that was blocked; each API has its own place for it."""
    note_filters(found, error.get("content_filters"))
    inner = as_object(error.get("innererror", error.get("inner_error")))
    for name in ("content_filter_result", "content_filter_results"):
        note_verdict(found, "prompt", inner.get(name))


def _outcome(result: object) -> object:
    """A category's result without any text of the prompt or the answer."""
    return _SAFE if result == _SAFE else _told(result, 0)


def _told(value: object, depth: int) -> object:
    """What of a result may be told: truth values, numbers and names; None for what is nothing of the kind."""
    if isinstance(value, bool | int | float):
        return value
    if depth == _DEEPEST:
        return None
    if isinstance(value, dict):
        members = (
            (name, member if _is_name(name, member) else _told(member, depth + 1)) for name, member in value.items()
        )
        return {name: member for name, member in members if member is not None}
    if isinstance(value, list):
        return [told for member in value if (told := _told(member, depth + 1)) is not None]
    return None


def _is_name(member: str, value: object) -> bool:
    return member in _NAMES and isinstance(value, str) and len(value) <= _LONGEST_NAME
