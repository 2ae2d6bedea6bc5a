"""Selection: the calls that a view covers, as its query string chooses them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

EARLIEST: Final = datetime(1, 1, 1)
LATEST: Final = datetime(9999, 1, 1)
CALLER_FIELDS: Final = ("subscription_id", "product", "user_id", "app_id")
_GRAIN_S: Final = 10
"""A period that ends now starts at a multiple of this, so a view without new calls stays the same for a while."""


class BadSelection(ValueError):
    """The query string is invalid; the message says why."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Calls by end (UTC), region, deployment and caller. None means all values, '' means unknown."""

    since: datetime = EARLIEST
    before: datetime = LATEST
    region: str | None = None
    deployment: str | None = None
    caller_field: str = CALLER_FIELDS[0]
    caller: str | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], now: datetime) -> "Selection":
        """The selection of a query string. Raises BadSelection.

        `last` is a number of seconds; without it, `since` and `before` are times. `by` is the field of `caller`.
        """
        since, before = _moment(query, "since", EARLIEST), _moment(query, "before", LATEST)
        if "last" in query:
            since = _last(query["last"], now)
        field = query.get("by", CALLER_FIELDS[0])
        if field not in CALLER_FIELDS:
            raise BadSelection(f"by must be one of {', '.join(CALLER_FIELDS)}")
        return cls(since, before, query.get("region"), query.get("deployment"), field, query.get("caller"))

    @property
    def time(self) -> dict[str, object]:
        """The parameters of statements over the macro `within`."""
        return {"since": self.since, "before": self.before}

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of statements over the macro `chosen`."""
        return self.time | {
            "region": self.region,
            "deployment": self.deployment,
            "field": None if self.caller is None else self.caller_field,
            "caller": self.caller,
        }


def moment(text: str) -> datetime:
    """A time in UTC, without an offset. Raises BadSelection."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError):
        raise BadSelection("a time must look like 2024-11-13T06:59:30") from None


def _moment(query: Mapping[str, str], name: str, absent: datetime) -> datetime:
    return moment(query[name]) if query.get(name) else absent


def _last(text: str, now: datetime) -> datetime:
    try:
        since = now - timedelta(seconds=int(text))
    except (ValueError, OverflowError):
        raise BadSelection("last must be a number of seconds") from None
    return since - timedelta(seconds=since.second % _GRAIN_S, microseconds=since.microsecond)
