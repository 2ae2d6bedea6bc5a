"""Generates prices.csv from the list prices in the package genai-prices: `python -m analytics.list_prices`.

Azure's prices where the package has them, otherwise OpenAI's, which Azure's global deployments follow. If a price
depends on the length of the prompt, the base price is used; service tiers and batches are not distinguished. Models
whose audio tokens cost more than text tokens are left out: the price table has one price for both, and no price is
better than a wrong one.
"""

import csv
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final

from analytics.prices import LISTED

_PROVIDERS: Final = ("openai", "azure")
"""A later provider overrides an earlier one."""
_AUDIO: Final = ("input_audio_mtok", "output_audio_mtok", "cache_audio_read_mtok")
_COLUMNS: Final = ("model", "region", "valid_from", "input", "cached", "output")


def rows() -> list[tuple[str, ...]]:
    """The lines of prices.csv, in order."""
    from genai_prices.data import providers

    known = {provider.id: provider for provider in providers}
    prices: dict[str, list[tuple[str, ...]]] = {}
    for name in _PROVIDERS:
        for model in known[name].models:
            dated = list(_dated(model.prices))
            for alias in {model.id, *_names(model.match)}:
                lines: list[tuple[str, ...]] = [(alias, "", day, *price) for day, price in dated]
                if lines and "audio" not in alias:  # for some of these the price of audio is unknown
                    prices[alias] = lines
    return [line for alias in sorted(prices) for line in prices[alias]]


def _names(match: Any) -> Iterator[str]:
    """The model names that a match rule lists explicitly."""
    for rule in getattr(match, "or_", [match]):
        if (name := getattr(rule, "equals", None)) is not None:
            yield name


def _dated(prices: Any) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Each price with the day from which it is valid; skips prices for certain hours of the day."""
    for entry in prices if isinstance(prices, list) else [None]:
        price = prices if entry is None else entry.prices
        since = entry and entry.constraint
        day = getattr(since, "start_date", None)
        paid = _base(getattr(price, "input_mtok", None))
        if paid is None or (since is not None and not isinstance(day, date)):
            continue
        if any(getattr(price, name, None) is not None for name in _AUDIO):
            continue
        cached = _base(getattr(price, "cache_read_mtok", None))
        output = _base(getattr(price, "output_mtok", None))
        yield (day.isoformat() if day else ""), (str(paid), str(paid if cached is None else cached), str(output or 0))


def _base(price: Any) -> Decimal | None:
    found = getattr(price, "base", price)
    return found if isinstance(found, Decimal) else None


def main() -> None:
    """Write the file."""
    with LISTED.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows())


if __name__ == "__main__":
    main()
