"""Reads JSON from the wire, where any value may have the wrong type."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from app.operations.json_text import dump
from app.operations.members import Members
from otel import attributes as a
from otel.call import Parameter, Request, Usage

_NOTHING: Final[Mapping[str, object]] = {}

MAX_COUNT: Final = 2**53
"""Every reader of JSON has the integers up to here (RFC 8259 §6)."""

_PARAMETERS: Final = {
    "temperature": a.REQUEST_TEMPERATURE,
    "top_p": a.REQUEST_TOP_P,
    "frequency_penalty": a.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": a.REQUEST_PRESENCE_PENALTY,
}
_COUNTS: Final = {
    "max_tokens": a.REQUEST_MAX_TOKENS,
    "max_completion_tokens": a.REQUEST_MAX_TOKENS,
    "max_output_tokens": a.REQUEST_MAX_TOKENS,
    "seed": a.REQUEST_SEED,
    "n": a.REQUEST_CHOICE_COUNT,
}


def as_text(value: object) -> str | None:
    """The value if it is a string."""
    return value if isinstance(value, str) else None


def as_object(value: object) -> Mapping[str, object]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else _NOTHING


def as_list(value: object) -> Sequence[object]:
    """The value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else ()


def as_int(value: object) -> int | None:
    """The value if it is an integer of 64 bits, the most that a span attribute can hold; 11.0 is one too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and -(2**63) <= value < 2**63 else None  # a bool does not count


def as_count(value: object) -> int | None:
    """The value if it is a plausible count: an integer from 0 to MAX_COUNT."""
    count = as_int(value)
    return None if count is None or not 0 <= count <= MAX_COUNT else count


def json_of(body: Mapping[str, object], name: str) -> str | bytearray | None:
    """A member as JSON, in bytes where it is long; None without one."""
    if name not in body:
        return None
    return body.json(name) if isinstance(body, Members) else dump(body[name])


def parameters(body: Mapping[str, object], text_format: object = None) -> dict[str, Parameter]:
    """Sampling parameters of a request by attribute name (GenAI semantic conventions).

    `text_format` is the API's own member that requests JSON instead of text.
    """
    found: dict[str, Parameter] = {}
    if (kind := as_text(as_object(text_format).get("type"))) is not None:
        found[a.OUTPUT_TYPE] = "json" if kind.startswith("json") else kind
    for name, attribute in _COUNTS.items():
        # the conventions want the count only where it is not 1, the default
        if (count := as_int(body.get(name))) is not None and not (name == "n" and count == 1):
            found[attribute] = count
    for name, attribute in _PARAMETERS.items():
        value = body.get(name)
        if (number := value if isinstance(value, float) else as_int(value)) is not None:
            found[attribute] = float(number)
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else [text for text in as_list(stop) if isinstance(text, str)]
    if stops:
        found[a.REQUEST_STOP_SEQUENCES] = tuple(stops)
    if tier := as_text(body.get("service_tier")):
        found[a.REQUEST_SERVICE_TIER] = tier
    return found


def form_request(fields: Mapping[str, str]) -> Request:
    """The facts of a request by the fields of a form, which are all text."""
    numbers: dict[str, object] = {}
    for name in ("temperature", "n"):
        try:
            numbers[name] = float(fields[name])
        except (KeyError, ValueError):
            continue
    return Request(
        model=fields.get("model") or None,
        stream=fields.get("stream", "").lower() in ("true", "1"),
        prompt=json_of(fields, "prompt"),
        parameters=parameters(numbers),
    )


def _first_count(usage: Mapping[str, object], *names: str) -> int | None:
    """The count under the first of these names that has one: the others may be there as null."""
    return next((count for name in names if (count := as_count(usage.get(name))) is not None), None)


def whole_characters(text: str) -> str:
    """The text with surrogates joined that two events carried apart: JSON may split a character at them."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def _counts(details: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """The counts of a breakdown; Realtime's cached_tokens_details.audio_tokens within it is cached_audio_tokens."""
    for name, given in details.items():
        if isinstance(given, dict) and name.endswith("tokens_details"):
            kept = name.removesuffix("tokens_details")
            yield from ((kept + key, count) for key, inner in given.items() if (count := as_count(inner)) is not None)
        elif (count := as_count(given)) is not None:
            yield name, count


def read_usage(value: object) -> Usage | None:
    """Token counts, by either API's names; None without a prompt count, never zeros instead."""
    usage = as_object(value)
    prompt = _first_count(usage, "prompt_tokens", "input_tokens")
    if prompt is None:
        return None
    details = {
        name: dict(_counts(counts))
        for name, counts in usage.items()
        if name.endswith("_details") and isinstance(counts, dict)
    }
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=_first_count(usage, "completion_tokens", "output_tokens"),
        total_tokens=as_count(usage.get("total_tokens")),
        details=details,
    )
