"""The table `Rates`: one row has what every unit costs, for a model, a type, a tier …, a period and a length of prompt.

It is worked out from the prices here, so that each engine looks a call's row up and multiplies. For what has no
price, the rate is null. Invariant: of the rows that a lookup by model, type, region, tier and variant finds, one and
only one is valid for any moment and any length of prompt. Region and variant are '' or one that the model has prices
of its own for.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise, product
from operator import attrgetter
from pathlib import Path
from typing import Final

import pyarrow as pa

from analytics.prices.price import ALWAYS, LISTED, NEVER, TYPES, WHATS, Price, read

NAME: Final = "Rates"
KEYS: Final = ("model", "type", "region", "tier", "variant")
_MOMENT, _COUNT = pa.timestamp("us"), pa.int64()
SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in KEYS),
        *(("valid_from", _MOMENT), ("valid_until", _MOMENT), ("prompt_from", _COUNT), ("prompt_until", _COUNT)),
        *((f"usd_{what}", pa.float64()) for what in WHATS),
    ]
)
_LONGEST: Final = 10**12
_INSTEAD: Final = {
    # in this order: a later entry may use what an earlier one found
    "output_tokens": "audio_output_tokens",
    "cached_audio_tokens": "audio_input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "cached_image_tokens": "image_input_tokens",
    "cached_tokens": "input_tokens",
    "image_input_tokens": "input_tokens",
    "image_output_tokens": "output_tokens",
}
"""What something costs that has no price of its own. Audio has no such: it always costs more than text."""

type Rates = dict[str, Decimal]


def table(own: Path | None = None) -> pa.Table:
    """The rates by the listed prices, and those of a CSV. Raises ValueError if that is wrong; OSError."""
    models: dict[str, list[Price]] = {}
    for price in [*read(LISTED, own=False), *(read(own) if own else ())]:
        models.setdefault(price.model, []).append(price)
    found = [row for model in sorted(models) for row in rows(model, models[model])]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def rows(model: str, prices: Sequence[Price]) -> Iterator[dict[str, object]]:
    """The rows of one model."""
    # the more exact a price, the later: so the last one that applies is the best
    ranked = sorted(prices, key=_exactness)
    places = product(TYPES, _named(prices, "region"), _named(prices, "tier") | {"default"}, _named(prices, "variant"))
    for place in sorted(places):
        applying = [price for price in ranked if _applies(price, *place)]
        keys = dict(zip(KEYS, (model, *place), strict=True))
        lengths = sorted({0, *(price.over_prompt_tokens + 1 for price in applying if price.over_prompt_tokens)})
        for length, longer in pairwise((*lengths, _LONGEST)) if applying else ():
            fitting = [price for price in applying if price.over_prompt_tokens < max(length, 1)]
            for since, until, rates in _periods(fitting):
                usd = {f"usd_{what}": float(rate) for what, rate in rates.items()}
                period = {"valid_from": since, "valid_until": until, "prompt_from": length, "prompt_until": longer}
                yield keys | period | usd


def _exactness(price: Price) -> tuple[object, ...]:
    special = [bool(word) for word in (price.region, price.type, price.tier, price.variant)]
    return (price.over_prompt_tokens, price.own, *special, price.valid_from)


def _named(prices: Iterable[Price], column: str) -> set[str]:
    found = set(map(attrgetter(column), prices))
    return found - {""} if column == "tier" else found | {""}


def _applies(price: Price, deployed: str, region: str, tier: str, variant: str) -> bool:
    return (
        price.type in ("", deployed)
        and price.region in ("", region)
        and price.tier in ("", tier)
        and price.variant in ("", variant)
    )


def _periods(ranked: Sequence[Price]) -> Iterator[tuple[datetime, datetime, Rates]]:
    """The rates from each day on at which one changes."""
    days = sorted({ALWAYS, *(price.valid_from for price in ranked)})
    rates = [_rates(price for price in ranked if price.valid_from <= day) for day in days]
    changes = [day for day, before, now in zip(days, [None, *rates], rates, strict=False) if now != before]
    for since, until in pairwise((*changes, NEVER)):
        yield since, until, rates[days.index(since)]


def _rates(ranked: Iterable[Price]) -> Rates:
    found = {price.what: price.usd for price in ranked}
    for what, instead in _INSTEAD.items():
        if what not in found and instead in found:
            found[what] = found[instead]
    return found
