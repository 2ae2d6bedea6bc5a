"""The golden calls: what each costs was worked out by hand, from golden/prices.csv and golden/deployments.csv."""

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from analytics.prices.books import Books
from analytics.rows import parse, table_of
from tests.analytics.kit import call_id, line

GOLDEN: Final = Path(__file__).with_name("golden")
BOOKS: Final = Books(GOLDEN / "prices.csv", GOLDEN / "deployments.csv")


@dataclass(frozen=True, slots=True)
class Golden:
    """A call, and what it must cost: `usd` is None if that is unknown, and `unpriced` then says why."""

    number: int
    name: str
    body: bytes
    working: str
    usd: Decimal | None
    unpriced: str

    @property
    def id(self) -> str:
        return call_id(self.number)

    def worked_out(self) -> Decimal | None:
        """The value of the working."""
        exact = re.sub(r"\d+(\.\d+)?(e\d+)?", lambda number: f"Decimal('{number[0]}')", self.working)
        found = None if exact == "none" else eval(exact, {"Decimal": Decimal})
        return found if found is None else Decimal(found)


def calls() -> list[Golden]:
    """All of them."""
    with (GOLDEN / "calls.csv").open(newline="") as file:
        return [_golden(number, row) for number, row in enumerate(csv.DictReader(file), 1)]


def rows() -> pa.Table:
    """Their rows of the table."""
    return table_of([parse(call.body) for call in calls()])


def _golden(number: int, row: dict[str, str]) -> Golden:
    usage: dict[str, Any] | None = None
    if row["prompt"]:
        usage = {"prompt_tokens": int(row["prompt"]), "input_token_details": _pairs(row["details"])}
    if row["completion"] and usage is not None:
        usage |= {"completion_tokens": int(row["completion"]), "output_token_details": _pairs(row["details_out"])}
    fields = {name: row[name] or None for name in ("deployment", "backend")}
    more = _pairs(row["more"])
    request = {name: more.pop(name) for name in ("size", "quality") if name in more}
    if code := more.pop("code", None):
        more["error"] = {"code": code}
    at = datetime.fromisoformat(row["day"]).replace(hour=23, minute=59, tzinfo=UTC)
    region, tier, units = row["region"] or "unknown", row["tier"] or None, _pairs(row["units"]) or None
    known = {"model": row["model"], "region": region, "service_tier": tier, "units": units, "request": request or None}
    body = line(number, at, **({"usage": usage, "usage_source": "reported"} | fields | known | more))
    usd = Decimal(row["usd"]) if row["usd"] else None
    return Golden(number, row["case"], body, row["working"], usd, row["unpriced"])


def _pairs(text: str) -> dict[str, Any]:
    """`name=value name=value`; numbers as such."""
    found = (pair.split("=") for pair in text.split())
    return {name: _value(value) for name, value in found}


def _value(text: str) -> int | float | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
