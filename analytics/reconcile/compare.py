"""The two sides of a period next to each other: what one has and the other lacks, and counts that differ."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from analytics.folder import folder
from analytics.reconcile.log import Logged
from analytics.table import connect, query

MARGIN: Final = timedelta(hours=1)
"""By how much the clocks, and the start and end of a call, may lie apart: so much more is read on either side."""

# a session's calls (101) are not in the log, and share their connection's id
_RECORDED: Final = """\
SELECT lower(coalesce(json_extract_string(nullif(more, ''), '$.caller.gateway_request_id'), '')) AS gateway_request_id,
  id, coalesce(started_at, timestamp) AS began, operation, model, status, prompt_tokens, completion_tokens, usage_source
FROM Calls WHERE coalesce(started_at, timestamp) >= $since AND coalesce(started_at, timestamp) < $until
  AND http_status IS DISTINCT FROM 101
ORDER BY began, id"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call as the table has it."""

    gateway_request_id: str
    """Empty if the call did not come through API Management."""
    id: str
    began: datetime
    operation: str
    model: str
    status: str
    prompt_tokens: int | None
    completion_tokens: int | None
    usage_source: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One call on which the two sides do not agree."""

    what: str
    """only_logged, only_recorded or tokens"""
    at: datetime
    gateway_request_id: str
    record_id: str
    operation: str
    model: str
    status: str
    logged_tokens: tuple[int | None, int | None]
    recorded_tokens: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result for a period."""

    logged: int
    recorded: int
    both: int
    unpaired: int
    """Records without API Management's id, which cannot be compared."""
    differences: list[Difference]


def recorded(place: str, since: datetime, until: datetime) -> list[Recorded]:
    """The table's calls that began in a period in UTC. Raises OSError."""
    table = folder(place)
    with connect(table) as connection:
        rows = query(connection, table, _RECORDED, {"since": since, "until": until})
    return [Recorded(**row) for row in rows.to_pylist()]


def compare(
    logged: Iterable[Logged], records: Iterable[Recorded], since: datetime, until: datetime, tolerance: int = 0
) -> Comparison:
    """The calls that began in a period on one side or the other.

    Both sides should reach MARGIN further, so that a call at an edge finds its other half. Counts differ if they are
    more than `tolerance` tokens apart, or if only one side has any.
    """
    by_id = {call.id: call for call in logged}
    records = list(records)
    paired = {record.gateway_request_id: record for record in records if record.gateway_request_id}
    of_log = {id: call for id, call in by_id.items() if since <= call.at < until}
    of_table = {id: record for id, record in paired.items() if since <= record.began < until}
    return Comparison(
        logged=len(of_log),
        recorded=len(of_table),
        both=len({*of_log, *of_table} & set(by_id) & set(paired)),
        unpaired=sum(not record.gateway_request_id and since <= record.began < until for record in records),
        differences=sorted(
            _differences({*of_log, *of_table}, by_id, paired, tolerance),
            key=lambda one: (one.at, one.gateway_request_id),
        ),
    )


def _differences(
    ids: Iterable[str], logged: dict[str, Logged], records: dict[str, Recorded], tolerance: int
) -> Iterator[Difference]:
    for id in ids:
        call, record = logged.get(id), records.get(id)
        of_call = (call.prompt_tokens, call.completion_tokens) if call else (None, None)
        of_record = (record.prompt_tokens, record.completion_tokens) if record else (None, None)
        if call is None or record is None:
            what = "only_recorded" if call is None else "only_logged"
        elif any(_apart(one, other, tolerance) for one, other in zip(of_call, of_record, strict=True)):
            what = "tokens"
        else:
            continue
        yield Difference(
            what,
            call.at if call else record.began if record else datetime.min,
            id,
            record.id if record else "",
            (record.operation if record else "") or (call.operation if call else ""),
            (record.model if record else "") or (call.model if call else ""),
            record.status if record else "",
            of_call,
            of_record,
        )


def _apart(one: int | None, other: int | None, tolerance: int) -> bool:
    # a count of nothing is often left out
    return abs((one or 0) - (other or 0)) > tolerance
