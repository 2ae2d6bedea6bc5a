"""Settling: what is done between the last byte of a call and its record: estimates, redaction, withheld content."""

from collections.abc import Coroutine
from dataclasses import dataclass

from app.answer.estimate import Estimator
from app.answer.redact import Redactor
from app.operations.content_filter import is_flagged
from app.operations.json_text import JsonText
from otel.call import Call
from otel.span import CallSpan


@dataclass(frozen=True, slots=True)
class Settling:
    """Shared by all calls."""

    estimator: Estimator
    redactor: Redactor
    only_filtered: bool = False
    """Whether content is recorded only of calls that a content filter flagged or blocked."""

    @property
    def withholds(self) -> bool:
        """Whether any content is withheld until a call's end."""
        return self.only_filtered or self.redactor.active

    def withheld(self, call: Call) -> bool:
        """Whether this call's is."""
        return self.only_filtered or self.redactor.applies(call)

    def work(
        self, call: Call, span: CallSpan, sent: JsonText | None, hurry: bool
    ) -> Coroutine[None, None, None] | None:
        """The work to do before the record; None if there is none. `sent` is the request's body, where it is known."""
        estimates, redacts = self.estimator.applies(call), self.redactor.applies(call)
        if self.only_filtered:
            flagged = is_flagged(call)
            span.withhold = redacts or not flagged
            redacts = redacts and flagged

        async def settle() -> None:
            if estimates:
                await self.estimator.estimate(call, sent, hurry)
            if redacts:
                span.withhold = not await self.redactor.redact(call, hurry)

        return settle() if estimates or redacts else None
