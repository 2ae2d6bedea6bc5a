"""A price: what one unit of something costs, of a model, from a day on, where and how it is deployed.

A CSV of prices has a row for each. Only `model`, `what` and `price` are required:

    model,what,price,per,valid_from,type,region,tier,over_prompt_tokens,variant
    gpt-4o-2024-11-20,input_tokens,2.75,1000000,2026-01-01,data_zone,,,,
    gpt-4o-2024-11-20,web_search_calls,14,1000,,,,,,
    dall-e-3,images,0.08,1,,,,,,1024x1024 hd

An empty `type` or `region` means all of them, an empty `valid_from` always; an empty `tier` means the default one for
tokens, and all of them for units. A price past a prompt length applies to the whole call, as providers charge it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from analytics.prices.rows import Row, rows

LISTED: Final = Path(__file__).with_name("listed.csv")
ALWAYS: Final = datetime(2000, 1, 1)
NEVER: Final = datetime(2100, 1, 1)
TYPES: Final = ("global", "data_zone", "regional")
"""Kinds of deployments that are paid for by use."""
TOKENS: Final = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "audio_input_tokens",
    "cached_audio_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    "cached_image_tokens",
    "image_output_tokens",
)
UNITS: Final = (
    "audio_seconds",
    "characters",
    "images",
    "video_seconds",
    "web_search_calls",
    "file_search_calls",
    "code_sessions",
)
WHATS: Final = (*TOKENS, *UNITS)
"""What has a price. Tokens of each name exclude those of the others: `input_tokens` are text that no cache had."""
DEFAULT_TIERS: Final = ("default", "standard", "auto")
COLUMNS: Final = ("model", "what", "price")
OPTIONAL: Final = ("per", "valid_from", "type", "region", "tier", "over_prompt_tokens", "variant")
_MILLION: Final = Decimal(1_000_000)
RELEASE: Final = "-20[0-9]{6}$"
"""The date at the end of claude-sonnet-4-5-20250929."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for one unit. '' in type, region and tier means any; in variant, any without a price of its own."""

    model: str
    what: str
    usd: Decimal
    valid_from: datetime = ALWAYS
    type: str = ""
    region: str = ""
    tier: str = ""
    over_prompt_tokens: int = 0
    variant: str = ""
    """Of images and videos: size and quality, as the request names them."""
    own: bool = False

    @property
    def cell(self) -> tuple[str | int | datetime, ...]:
        """Where the price stands: no two of one CSV may stand there."""
        place = (self.type, self.region, self.tier, self.over_prompt_tokens, self.variant)
        return (self.model, self.what, self.valid_from, *place)


def read(file: Path, own: bool = True) -> list[Price]:
    """The prices of a CSV. Raises ValueError that names line and column; OSError."""
    found: dict[tuple[object, ...], Price] = {}
    for row in rows(file, COLUMNS, OPTIONAL):
        price = _price(row, own)
        if price.cell in found:
            raise row.fault("model", f"repeats a row: {price.model}, {price.what}")
        found[price.cell] = price
    return list(found.values())


def _price(row: Row, own: bool) -> Price:
    what = row.required("what", WHATS)
    over, per = (
        row.number("over_prompt_tokens", Decimal(0)),
        row.number("per", _MILLION if what in TOKENS else Decimal(1)),
    )
    if over != int(over):
        raise row.fault("over_prompt_tokens", f"{over} is no whole number")
    if not per:
        raise row.fault("per", "0 is no amount")
    if row.text("variant") and what not in ("images", "video_seconds"):
        raise row.fault("variant", f"{what} have none")
    return Price(
        model=model_name(row.required("model")),
        what=what,
        usd=row.number("price") / per,
        valid_from=row.day("valid_from", ALWAYS),
        type=row.text("type", TYPES),
        region=region_name(row.text("region")),
        tier=tier_name(row.text("tier")) or ("default" if what in TOKENS else ""),
        over_prompt_tokens=int(over),
        variant=row.text("variant").lower(),
        own=own,
    )


# cost.py has the same rules for the calls


def model_name(model: str) -> str:
    """The name under which a model has its prices: Claude's releases cost what the model without a date costs."""
    return re.sub(RELEASE, "", model.lower())


def region_name(region: str) -> str:
    """`Sweden Central` and `swedencentral` are one region."""
    return region.lower().replace(" ", "")


def tier_name(tier: str) -> str:
    """`standard` and `auto` are `default`."""
    return "default" if tier.lower() in DEFAULT_TIERS else tier.lower()
