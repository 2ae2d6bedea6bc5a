"""FetchedUsage: token counts of background responses for the metrics, however often a response is fetched."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import orjson
from opentelemetry.util.types import AttributeValue

from otel import attributes as a

RESPONSES: Final = 10_000
"""How many responses are remembered; the oldest are forgotten first."""

BILLED_LATER: Final = frozenset({"responses", "assistants", "batches"})
"""APIs whose answers may tell their usage to a later call."""

type Facts = Mapping[str, AttributeValue]


class FetchedUsage:
    """Counts the tokens of a background response once, with the call that first tells them."""

    def __init__(self) -> None:
        self._counted: OrderedDict[AttributeValue, None] = OrderedDict()

    def counted(self, facts: Facts) -> Facts:
        """The facts of a call, with the token counts of a response that it fetched, if they are new."""
        response = facts.get(a.RESPONSE_ID)
        if response is None or facts.get(a.API_TYPE) not in BILLED_LATER:
            return facts
        if (usage := facts.get(a.FETCHED_USAGE)) is not None:
            if not facts.get(a.FETCHED_BACKGROUND) or response in self._counted:
                return facts
            counts = orjson.loads(str(usage))
            facts = {
                **facts,
                a.INPUT_TOKENS: counts["prompt_tokens"],
                **({a.OUTPUT_TOKENS: counts["completion_tokens"]} if "completion_tokens" in counts else {}),
            }
        elif a.INPUT_TOKENS not in facts:
            return facts
        self._counted[response] = None
        if len(self._counted) > RESPONSES:
            self._counted.popitem(last=False)
        return facts
