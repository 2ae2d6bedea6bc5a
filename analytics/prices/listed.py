"""Generates listed.csv from the list prices in the package genai-prices: `python -m analytics.prices.listed`.

Azure's prices where the package has them, otherwise OpenAI's and Anthropic's, which Azure's global deployments follow.
They have the type `global`: data zones and regions often cost more, which the package does not know. Hosted tools cost
the same wherever the model is deployed. Prices for certain hours of the day, and models named by a pattern only, are
left out.
"""

import csv
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final

from analytics.prices.price import COLUMNS, LISTED, OPTIONAL, TOKENS, model_name

_PROVIDERS: Final = ("openai", "anthropic", "azure")
"""A later provider's price of something replaces an earlier one's."""
_WHATS: Final = {
    "input_mtok": ("input_tokens", 1_000_000),
    "cache_read_mtok": ("cached_tokens", 1_000_000),
    "cache_write_mtok": ("cache_write_tokens", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h_tokens", 1_000_000),
    "output_mtok": ("output_tokens", 1_000_000),
    "input_audio_mtok": ("audio_input_tokens", 1_000_000),
    "cache_audio_read_mtok": ("cached_audio_tokens", 1_000_000),
    "output_audio_mtok": ("audio_output_tokens", 1_000_000),
    "input_image_mtok": ("image_input_tokens", 1_000_000),
    "cache_image_read_mtok": ("cached_image_tokens", 1_000_000),
    "output_image_mtok": ("image_output_tokens", 1_000_000),
    "input_audio_hours": ("audio_seconds", 3600),
    "input_mchars": ("characters", 1_000_000),
    "web_searches_kcount": ("web_search_calls", 1000),
    "storage_searches_kcount": ("file_search_calls", 1000),
}
_TIERS: Final = {("processing", "batch"): "batch", ("speed", "fast"): "fast"}

type Line = tuple[str, ...]
type Timeline = dict[str, Line]
"""By day, the lines of one cell."""


def lines() -> list[Line]:
    """The lines of listed.csv, in order."""
    from genai_prices.data import providers

    known = {provider.id: provider for provider in providers}
    cells: dict[tuple[str, ...], Timeline] = {}
    for provider in _PROVIDERS:
        own: dict[tuple[str, ...], Timeline] = {}
        for model in known[provider].models:
            for name in {model_name(name) for name in (model.id, *_names(model.match)) if ":free" not in name}:
                for tier, day, prices in _dated(model):
                    for what, per, over, price in _cells(prices):
                        token = what in TOKENS
                        place = ("global", "", tier) if token else ("", "", "")
                        line = (name, what, str(price), str(per), day, *place, str(over or ""), "")
                        if token or tier == "default":
                            own.setdefault((name, what, tier, str(over)), {})[day] = line
        cells |= own
    return sorted(line for timeline in cells.values() for line in timeline.values())


def _names(match: Any) -> Iterator[str]:
    """The model names that a match rule lists, and the prefixes, which are names without a date."""
    for rule in getattr(match, "or_", [match]):
        for clause in ("equals", "starts_with"):
            if (name := getattr(rule, clause, None)) is not None:
                yield name.rstrip("-@")


def _dated(model: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The model's prices by tier and first day, '' for always."""
    standard = model.prices if isinstance(model.prices, list) else [None]
    latest: dict[str, Any] = {}
    for entry in standard:
        if (day := _day(entry and entry.constraint)) is not None:
            latest = vars(model.prices if entry is None else entry.prices)
            yield "default", day, latest
    for variant in model.price_variants or ():
        ((key, value),) = variant.when.items()
        tier = _TIERS.get((key, value), value)
        day = _day(variant.constraint)
        # a tier without a price of its own for text is the default one
        if day is not None and tier != "default" and getattr(variant.prices, "input_mtok", None) is not None:
            yield tier, day, latest | vars(variant.prices)


def _day(constraint: Any) -> str | None:
    day = getattr(constraint, "start_date", None)
    return "" if constraint is None else day.isoformat() if isinstance(day, date) else None


def _cells(prices: dict[str, Any]) -> Iterator[tuple[str, int, int, Decimal]]:
    """What is priced, for how many units, past which prompt length, and the price."""
    for name, price in prices.items():
        if price is None or name not in _WHATS:
            continue
        what, per = _WHATS[name]
        if isinstance(price, Decimal):
            yield what, per, 0, price
        else:
            yield what, per, 0, price.base
            yield from ((what, per, tier.start, tier.price) for tier in price.tiers)


def main() -> None:
    """Write the file."""
    with LISTED.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, *OPTIONAL))
        writer.writerows(lines())


if __name__ == "__main__":
    main()
