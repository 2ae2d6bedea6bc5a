"""The content filter's verdicts, wherever an answer has them, gathered as `prompt` and `completion`."""

from typing import Final

from app.operations.operation import Json
from app.operations.wire import as_list, as_object

_SAFE: Final = {"filtered": False, "severity": "safe"}
"""What nearly every result is: one object for all of them, since each open stream holds eight."""


def note_verdict(found: dict[str, object], subject: str, verdict: object) -> None:
    """Add a verdict, categories to results, on a subject: `prompt` or `completion`.

    Later verdicts are about more text, so they replace those of earlier ones, unless these blocked.
    """
    results = as_object(verdict)
    known = found.get(subject)
    if not results or results == known:  # nearly every chunk of a stream repeats the one before
        return
    if not isinstance(known, dict):
        found[subject] = {category: _SAFE if result == _SAFE else result for category, result in results.items()}
        return
    for category, result in results.items():
        if as_object(known.get(category)).get("filtered") is not True:
            known[category] = result


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
