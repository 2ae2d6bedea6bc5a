"""Who a caller is: `field=header` pairs of PROXY_CALLER_HEADERS, `field=path` pairs of PROXY_CALLER_BODY."""

import re
from typing import Final

DEFAULT_HEADERS: Final = (
    "subscription_id=x-apim-subscription-id,product=x-apim-product,user_id=x-apim-user-id,"
    "app_id=x-apim-app-id,session_id=x-session-id"
)
_HEADER: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+")
_PATH: Final = re.compile(r"[^.\s]+(\.[^.\s]+)*")


def read_headers(text: str) -> tuple[dict[str, str], list[str]]:
    """Each field's header, in lower case, or `baggage.KEY`; and every fault.

    `team=baggage` is short for `team=baggage.team`: a member of W3C baggage, whose keys have a case.
    """
    headers, faults = _pairs(text, _HEADER, "PROXY_CALLER_HEADERS", "field=header")
    return {field: _source(field, header) for field, header in headers.items()}, faults


def read_body(text: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The path to each field in a JSON body, such as `("metadata", "team")`; and every fault."""
    paths, faults = _pairs(text, _PATH, "PROXY_CALLER_BODY", "field=path, such as team=metadata.team")
    return {field: tuple(path.split(".")) for field, path in paths.items()}, faults


def _source(field: str, header: str) -> str:
    name, dot, key = header.partition(".")
    if name.lower() != "baggage":
        return header.lower()
    return f"baggage.{key if dot else field}"


def _pairs(text: str, valid: re.Pattern[str], variable: str, form: str) -> tuple[dict[str, str], list[str]]:
    pairs: dict[str, str] = {}
    faults: list[str] = []
    for number, pair in enumerate(filter(None, (pair.strip() for pair in text.split(","))), 1):
        field, equals, source = (part.strip() for part in pair.partition("="))
        if not equals or not re.fullmatch(r"\w+", field) or not valid.fullmatch(source):
            faults.append(f"{variable}: entry {number} is not of the form {form}")
        else:
            pairs[field] = source
    return pairs, faults
