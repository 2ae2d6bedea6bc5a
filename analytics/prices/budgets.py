"""Budgets: what a caller may cost in a month. From your CSV:

    caller_field,name,usd,month
    product,search,500,
    product,search,900,2026-11
    user_id,ann,20,

`caller_field` is the field that `name` is a value of. An empty `month` means every month without a row of its own.
"""

import re
from pathlib import Path
from typing import Final

import pyarrow as pa

from analytics.prices.rows import rows

NAME: Final = "Budgets"
SCHEMA: Final = pa.schema(
    [("caller_field", pa.string()), ("name", pa.string()), ("month", pa.string()), ("usd", pa.float64())]
)
_MONTH: Final = re.compile(r"20\d\d-(0[1-9]|1[0-2])|")


def table(file: Path | None = None) -> pa.Table:
    """The budgets of a CSV. Raises ValueError that names line and column; OSError."""
    found: dict[tuple[str, str, str], dict[str, object]] = {}
    for row in rows(file, ("caller_field", "name", "usd"), ("month",)) if file else ():
        by, name, month = row.required("caller_field"), row.text("name"), row.text("month")
        if not _MONTH.fullmatch(month):
            raise row.fault("month", f"{month!r} is no month like 2026-11")
        if (by, name, month) in found:
            raise row.fault("name", f"repeats a row: {by}, {name}")
        found[by, name, month] = {"caller_field": by, "name": name, "month": month, "usd": float(row.number("usd"))}
    return pa.Table.from_pylist(list(found.values()), schema=SCHEMA)
