"""What leaves the process of a span's status."""

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
        (a.SCOPE, "\ud800", "?"),  # which no encoder takes, and with it the whole batch
        (a.SCOPE, None, None),
        ("another", "ValueError: the prompt", None),
    ],
)
def test_a_description_of_ours_is_bounded_and_anothers_left_out(
    scope: str, description: str | None, left: str | None
) -> None:
    """It may come from upstream's answer, whatever that is."""
    span = ReadableSpan(
        name="chat",
        context=SpanContext(1, 1, False),
        status=Status(StatusCode.ERROR, description),
        instrumentation_scope=InstrumentationScope(scope),
    )
    status = Scrub()(span).status
    assert (status.status_code, status.description) == (StatusCode.ERROR, left)
