"""How a response fails its call: by an error that it reports, or because it is not an answer of the operation.

Firewalls and gateways between the proxy and Azure OpenAI respond with redirects and HTML pages of status 200.
"""

from typing import Final

from app.operations.content_filter import note_error
from app.operations.operation import Operation
from app.operations.wire import as_object, as_text
from otel.call import Call

UNEXPECTED: Final = "unexpected_answer"
"""The code of a call whose response is not an answer of its operation."""
_WITHOUT_BODY: Final = frozenset({204, 205})


def unexpected_head(operation: Operation, status: int | None, content_type: str) -> str | None:
    """Why a success is not an answer of the operation, by its head alone; None if it may be one."""
    if not (operation.answer_members or operation.other_answers):  # any response may be an answer
        return None
    if status is not None and 300 <= status < 400:
        return "the response is a redirect"
    if status in _WITHOUT_BODY:
        return "the response has no body"
    if "html" in content_type:
        return "the response is an HTML page"
    if "json" in content_type and not operation.json_answer:
        return "the response is JSON"
    return None


def is_announced(operation: Operation, content_type: str) -> bool:
    """Whether the content type is one that the operation answers with; otherwise the bytes decide."""
    return operation.other_answers or "json" in content_type or "text/event-stream" in content_type


def note_failure(call: Call, error: object, code: str) -> None:
    """Fail the call with upstream's error; `code` applies where that has none."""
    members = as_object(error)
    # API Management, in front of upstream or of the proxy, uses statusCode
    told = (members.get(name) for name in ("code", "type", "statusCode"))
    code = next((str(one) for one in told if one and isinstance(one, str | int)), code)
    call.fail_as_told(code, as_text(members.get("message")) or as_text(error))
    note_error(call.answer.content_filter, members)
