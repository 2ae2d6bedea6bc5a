"""What a record cannot tell of a deployment: its type, and what a provisioned one costs an hour. From your CSV:

    deployment,backend,model,type,region,tier,units,price_an_hour,valid_from,valid_until
    gpt-4o,sweden-ptu,,provisioned,,,50,1.00,2026-01-01,
    gpt-4o,sweden,,data_zone,,,,,,
    whisper,,whisper-1,regional,Sweden Central,,,,,
    nightly,,,global,,batch,,,,

Only `deployment` is required. An empty `backend` means every backend that has no row of its own; an empty `model` or
`region`, what the record says. `price_an_hour` is for one unit. A second row of a deployment, in another period,
changes its units.
"""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import pyarrow as pa

from analytics.prices.price import ALWAYS, NEVER, TYPES, model_name, region_name, tier_name
from analytics.prices.rows import rows

NAME: Final = "Deployments"
PROVISIONED: Final = "provisioned"
_MOMENT, _REAL = pa.timestamp("us"), pa.float64()
_TEXTS: Final = ("deployment", "backend", "model", "type", "region", "tier")
SCHEMA: Final = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *(("units", _REAL), ("price_an_hour", _REAL), ("valid_from", _MOMENT), ("valid_until", _MOMENT)),
    ]
)


def table(file: Path | None = None) -> pa.Table:
    """The deployments of a CSV. Raises ValueError that names line and column; OSError."""
    found: list[dict[str, object]] = []
    periods: dict[object, list[tuple[datetime, datetime]]] = {}
    types: dict[object, object] = {}
    for row in rows(file, SCHEMA.names[:1], SCHEMA.names[1:]) if file else ():
        texts = {
            "deployment": row.required("deployment"),
            "backend": row.text("backend"),
            "model": model_name(row.text("model")),
            "type": row.text("type", (*TYPES, PROVISIONED)),
            "region": region_name(row.text("region")),
            "tier": tier_name(row.text("tier")),
        }
        since, until = row.day("valid_from", ALWAYS), row.day("valid_until", NEVER)
        if texts["type"] == PROVISIONED and since == ALWAYS:
            raise row.fault("valid_from", "is empty: a provisioned deployment costs from a day on")
        if until <= since:
            raise row.fault("valid_until", "is not after valid_from")
        name = (texts["deployment"], texts["backend"])
        if types.setdefault(name, texts) != texts:
            raise row.fault("type", f"{name[0]} has another type, model, region or tier in a row above")
        before = periods.setdefault(name, [])
        if any(since < ended and began < until for began, ended in before):
            raise row.fault("valid_from", f"{name[0]} has a row for this period above")
        before.append((since, until))
        amounts = {name: float(row.number(name, Decimal(0))) for name in ("units", "price_an_hour")}
        found.append({**texts, **amounts, "valid_from": since, "valid_until": until})
    return pa.Table.from_pylist(found, schema=SCHEMA)
