"""What a call cost: the one definition from which the views `Costs` of DuckDB, Spark and Azure Data Explorer are made.

    situation of calls ── type, tier … of the deployment ── rates of the model ─┐
                                                                        call ───┴── billed quantities ── cost

Counts that upstream reports overlap: cached, audio and image tokens are part of the prompt's, reasoning of the
completion's. The billed quantities do not: those of a prompt add up to its tokens, those of a completion to its. `cost`
is null if anything billed has no price, and `unpriced` then says what; or `usage`, if upstream reported none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from analytics.columns import SCHEMA
from analytics.prices import deployments, rates
from analytics.prices.deployments import PROVISIONED
from analytics.prices.dialects import Dialect
from analytics.prices.price import DEFAULT_TIERS, RELEASE, UNITS, WHATS

type Expression = Callable[[Dialect], str]

NAME: Final = "Costs"
TEXTS: Final = (
    "price_deployment",
    "price_backend",
    "price_model",
    "price_type",
    "price_region",
    "price_tier",
    "price_variant",
)
COLUMNS: Final = (*SCHEMA.names, *TEXTS, "provisioned", "cost", "unpriced")
"""The columns of the view: those of `Calls`, by what the price was looked up, and what it came to."""
_BILLED: Final = (
    *("chat", "text_completion", "embeddings", "image_generation", "image_edit"),
    *("speech", "transcription", "translation", "realtime"),
)
"""Operations whose calls cost something; others, such as a GET of a file, never report usage."""


@dataclass(frozen=True, slots=True)
class Extend:
    """New columns from those before."""

    columns: Mapping[str, Expression]


@dataclass(frozen=True, slots=True)
class Lookup:
    """New columns from the rows of a table that `on` finds, null if there is none."""

    table: str
    on: Mapping[str, str]
    """The table's columns by those that they must be equal to."""
    take: Mapping[str, str]
    """The table's columns by the new ones' names."""
    empty: str = ""
    """A column of the table that must be ''."""
    unique: bool = True
    """Whether rows of the table that are alike count once."""


type Step = Extend | Lookup


def _said(name: str) -> Expression:
    """What the table of deployments says: in the row for the backend, else in the one for all."""
    return lambda d: d.first(f"exact_{name}", f"general_{name}")


def _if_listed(name: str) -> Expression:
    return lambda d: d.first(f"listed_{name}")


def _variant(d: Dialect) -> str:
    """Size and quality as the request names them: `1024x1024 hd`."""
    return d.lower(d.words(d.first("output_size"), d.text(" "), d.first("output_quality")))


def _unless_provisioned(count: str) -> Expression:
    return lambda d: d.iff("provisioned", "0", d.either(count, "0"))


def _at_most(count: str, limit: str) -> Expression:
    """A count that may be null, up to what is left."""
    return lambda d: d.least(d.either(count, "0"), limit)


def _fresh(count: str, cached: str, limit: str) -> Expression:
    """What of a count that may be null was not cached, up to what is left."""
    return lambda d: d.least(d.most(f"{d.either(count, '0')} - {cached}", "0"), limit)


def _difference(expression: str) -> Expression:
    return lambda _: expression


def _unit(name: str) -> Expression:
    return lambda d: d.number("units", name)


def _priced(d: Dialect) -> str:
    terms = (d.iff(d.same(f"billed_{what}", "0"), "0.0", f"billed_{what} * usd_{what}") for what in WHATS)
    return " + ".join(terms)


def _unreported(d: Dialect) -> str:
    """Whether a call is billed for what upstream did not tell. Of failed calls, Azure bills those that it filtered."""
    missing = d.same(d.first("usage_source"), d.text("missing"))
    failed = d.same("status", d.text("upstream_error"))
    filtered = d.same(d.first("error_code"), d.text("content_filter"))
    return d.iff(missing, d.iff(failed, filtered, d.one_of("operation", *_BILLED)), d.false)


def _unpriced(d: Dialect) -> str:
    def word(what: str) -> str:
        lacking = d.iff(d.unknown(f"usd_{what}"), d.text(f"{what} "), d.text(""))
        return d.iff(d.same(f"billed_{what}", "0"), d.text(""), lacking)

    lacking = d.iff(d.unknown("priced"), d.words(*map(word, WHATS)), d.text(""))
    return d.iff("unreported", d.text("usage"), lacking)


def _cost(d: Dialect) -> str:
    return d.iff("unreported", d.none, "priced")


_SAID: Final = ("type", "model", "region", "tier")
SITUATION: Final = (
    *("served_by", "deployment", "backend", "model", "region"),
    *("service_tier", "output_size", "output_quality"),
)
"""Columns of a call that decide what its units cost. Few calls differ in them: rates are looked up once for each."""
FIND_RATES: Final[tuple[Step, ...]] = (
    Extend({"price_deployment": lambda d: d.first("served_by", "deployment")}),
    Lookup(
        deployments.NAME,
        {"price_deployment": "deployment", "backend": "backend"},
        {"exact_backend": "backend", **{f"exact_{name}": name for name in _SAID}},
    ),
    Lookup(
        deployments.NAME,
        {"price_deployment": "deployment"},
        {f"general_{name}": name for name in _SAID},
        empty="backend",
    ),
    Extend({f"said_{name}": _said(name) for name in _SAID}),
    Extend(
        {
            "provisioned": lambda d: d.same("said_type", d.text(PROVISIONED)),
            "price_backend": lambda d: d.first("exact_backend"),
            "price_model": lambda d: d.without(d.lower(d.first("said_model", "model")), RELEASE),
            "price_type": lambda d: d.iff(d.one_of("said_type", "", PROVISIONED), d.text("global"), "said_type"),
            "any_region": lambda d: d.without(d.lower(d.first("said_region", "region")), " "),
            "any_tier": lambda d: d.first("said_tier", "service_tier"),
            "any_variant": _variant,
        }
    ),
    Extend({"price_tier": lambda d: d.iff(d.one_of("any_tier", "", *DEFAULT_TIERS), d.text("default"), "any_tier")}),
    Lookup(rates.NAME, {"price_model": "model", "any_region": "region"}, {"listed_region": "region"}),
    Lookup(rates.NAME, {"price_model": "model", "any_variant": "variant"}, {"listed_variant": "variant"}),
    Extend({f"price_{name}": _if_listed(name) for name in ("region", "variant")}),
    Lookup(
        rates.NAME,
        {f"price_{name}": name for name in rates.KEYS},
        {name: name for name in rates.SCHEMA.names if name not in rates.KEYS},
        unique=False,
    ),
)
"""From a situation to the rates, those of all periods and lengths of prompt."""
FOUND: Final = (*TEXTS, "provisioned", *(name for name in rates.SCHEMA.names if name not in rates.KEYS))
WITHIN: Final = {"timestamp": ("valid_from", "valid_until"), "prompt_length": ("prompt_from", "prompt_until")}
"""Which of them is a call's: the one whose pair of columns is around the call's column."""
PROMPT_LENGTH: Final = Extend({"prompt_length": lambda d: d.either("prompt_tokens", "0")})
BILL: Final[tuple[Step, ...]] = (
    # each part takes at most what those before leave of the whole
    Extend(
        {
            "paid_prompt": _unless_provisioned("prompt_tokens"),
            "paid_completion": _unless_provisioned("completion_tokens"),
        }
    ),
    Extend(
        {
            "from_cache": _at_most("cached_tokens", "paid_prompt"),
            "billed_audio_output_tokens": _at_most("audio_completion_tokens", "paid_completion"),
        }
    ),
    Extend(
        {
            "to_cache": _at_most("cache_write_tokens", "paid_prompt - from_cache"),
            "billed_cached_audio_tokens": _at_most("cached_audio_tokens", "from_cache"),
            "billed_image_output_tokens": _at_most(
                "image_completion_tokens", "paid_completion - billed_audio_output_tokens"
            ),
        }
    ),
    Extend(
        {
            "past_cache": _difference("paid_prompt - from_cache - to_cache"),
            "billed_cache_write_1h_tokens": _at_most("cache_write_1h_tokens", "to_cache"),
            "billed_cached_image_tokens": _at_most("cached_image_tokens", "from_cache - billed_cached_audio_tokens"),
            "billed_output_tokens": _difference(
                "paid_completion - billed_audio_output_tokens - billed_image_output_tokens"
            ),
        }
    ),
    Extend(
        {
            "billed_audio_input_tokens": _fresh("audio_prompt_tokens", "billed_cached_audio_tokens", "past_cache"),
            "billed_cache_write_tokens": _difference("to_cache - billed_cache_write_1h_tokens"),
            "billed_cached_tokens": _difference("from_cache - billed_cached_audio_tokens - billed_cached_image_tokens"),
        }
    ),
    Extend(
        {
            "billed_image_input_tokens": _fresh(
                "image_prompt_tokens", "billed_cached_image_tokens", "past_cache - billed_audio_input_tokens"
            ),
            **{f"billed_{unit}": _unit(unit) for unit in UNITS},
        }
    ),
    Extend({"billed_input_tokens": _difference("past_cache - billed_audio_input_tokens - billed_image_input_tokens")}),
    Extend({"priced": _priced, "unreported": _unreported}),
    Extend({"cost": _cost, "unpriced": _unpriced}),
)
"""From a call with its rates to what it costs."""
