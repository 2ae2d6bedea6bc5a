"""The status of a scrubbed span."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode

from otel import attributes as a
from otel.scrub import TEXT_LENGTH, Scrub


@pytest.mark.parametrize(
    ("scope", "description", "left"),
    [
        (a.SCOPE, "content_filter", "content_filter"),
        (a.SCOPE, "x" * 2 * TEXT_LENGTH, "x" * TEXT_LENGTH),
        (a.SCOPE, "\ud800", "?"),  # no encoder accepts it, nor the batch it is in
        (a.SCOPE, None, None),
        ("another", "ValueError: the prompt", None),
    ],
)
def test_our_description_is_bounded_and_any_other_is_removed(
    scope: str, description: str | None, left: str | None
) -> None:
    """Ours may come from upstream's response, so it can be any text; another's is an exception's text."""
    span = ReadableSpan(
        name="chat",
        context=SpanContext(1, 1, False),
        status=Status(StatusCode.ERROR, description),
        instrumentation_scope=InstrumentationScope(scope),
    )
    status = Scrub()(span).status
    assert (status.status_code, status.description) == (StatusCode.ERROR, left)
