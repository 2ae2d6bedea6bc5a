"""Makes prices.csv of the list prices that the package genai-prices knows: `python -m analytics.list_prices`.

Azure's where it has them, or else OpenAI's, which Azure's global deployments follow. Of a price that depends on the
length of the prompt the base is taken; service tiers and batches are not told apart. Models whose tokens of sound cost
more than those of text are left out: the table does not tell these tokens apart, and unpriced is better than wrong.
"""

import csv
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final

from analytics.prices import LISTED

_PROVIDERS: Final = ("openai", "azure")
"""Later ones replace earlier ones."""
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
            for called in {model.id, *_names(model.match)}:
                lines: list[tuple[str, ...]] = [(called, "", day, *price) for day, price in dated]
                if lines and "audio" not in called:  # of some of these the price of sound is not known
                    prices[called] = lines
    return [line for called in sorted(prices) for line in prices[called]]


def _names(match: Any) -> Iterator[str]:
    """The names that a rule takes for a model, as far as it lists them."""
    for rule in getattr(match, "or_", [match]):
        if (name := getattr(rule, "equals", None)) is not None:
            yield name


def _dated(prices: Any) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Each price that holds from a day on; one for some hours of the day only is left out."""
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
    """Write the file anew."""
    with LISTED.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows())


if __name__ == "__main__":
    main()
