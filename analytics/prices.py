"""The price table: what a million tokens of a model cost in US dollars, by date, and by region where it differs.

    python -m analytics.prices [--prices FILE] > prices.csv      all of it, for another engine's table Prices

prices.csv is generated (`analytics.list_prices`) from public list prices, which apply to global deployments. Your own
CSV with the same columns extends it: regional, data-zone or negotiated prices, and models that are not listed. From its
date on, one of your prices replaces the listed one.
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

LISTED: Final = Path(__file__).with_name("prices.csv")
ALWAYS: Final = datetime(2000, 1, 1)
NEVER: Final = datetime(2100, 1, 1)
TABLE: Final = "Prices"
SCHEMA: Final = pa.schema(
    [
        ("model", pa.string()),
        ("region", pa.string()),
        ("valid_from", pa.timestamp("us")),
        ("valid_until", pa.timestamp("us")),
        ("input", pa.float64()),
        ("cached", pa.float64()),
        ("output", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens of a model, from a day on (UTC). Region '' means every region."""

    model: str
    region: str
    valid_from: datetime
    input: float
    cached: float
    output: float


def read(file: Path) -> list[Price]:
    """Prices from a CSV; `region`, `valid_from`, `cached` and `output` may be empty. Raises ValueError."""
    found = []
    with file.open(newline="") as lines:
        rows = csv.DictReader(lines)
        if missing := {"model", "input"} - set(rows.fieldnames or ()):
            raise ValueError(f"{file}: missing column {', '.join(sorted(missing))}")
        for row in rows:
            try:
                paid = float(row["input"])
                day = row.get("valid_from")
                found.append(
                    Price(
                        row["model"],
                        row.get("region") or "",
                        datetime.fromisoformat(day).replace(tzinfo=None) if day else ALWAYS,
                        paid,
                        float(row.get("cached") or paid),
                        float(row.get("output") or 0),
                    )
                )
            except ValueError as fault:
                raise ValueError(f"{file}, line {rows.line_num}: {fault}") from fault
    return found


def table(own: Path | None = None) -> pa.Table:
    """The table `Prices`: for each model, and each of its regions, exactly one row is valid at any time.

    So a lookup finds one row for each group of calls, and no call is counted twice or left out.
    """
    listed, mine = read(LISTED), read(own) if own else []
    timelines: dict[tuple[str, str], list[Price]] = {}
    for price in listed:
        timelines.setdefault((price.model, price.region), []).append(price)
    for key in sorted({(price.model, price.region) for price in mine}, key=lambda key: (key[0], key[1])):
        of_mine = [price for price in mine if (price.model, price.region) == key]
        began = min(price.valid_from for price in of_mine)
        # before the first own price the general one applies; sorting puts a model's general prices before its regions
        before = timelines.get(key) or [replace(price, region=key[1]) for price in timelines.get((key[0], ""), [])]
        timelines[key] = [price for price in before if price.valid_from < began] + of_mine
    rows = [row for timeline in timelines.values() for row in _covering(timeline)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _covering(timeline: Iterable[Price]) -> list[dict[str, object]]:
    """Each price valid until the next one, the first from `ALWAYS`."""
    dated = sorted(timeline, key=lambda price: price.valid_from)
    starts = [ALWAYS, *(price.valid_from for price in dated[1:])]
    ends = [*starts[1:], NEVER]
    return [
        {**asdict(price), "valid_from": start, "valid_until": end}
        for price, start, end in zip(dated, starts, ends, strict=True)
    ]


def main() -> None:
    """Print the table as CSV."""
    parser = argparse.ArgumentParser(prog="python -m analytics.prices", description="The price table as CSV.")
    parser.add_argument("--prices", type=Path, help="CSV of your own prices")
    writer = csv.DictWriter(sys.stdout, SCHEMA.names)
    writer.writeheader()
    for row in table(parser.parse_args().prices).to_pylist():
        writer.writerow({name: _text(value) for name, value in row.items()})


def _text(value: object) -> object:
    return value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value


if __name__ == "__main__":
    main()
