"""The count: what upstream saw against what arrived at the hub, call by call; and how long clients waited."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.kit.hub import Record, checked


@dataclass(frozen=True)
class Count:
    """Of calls that upstream saw, by the CLIENT span that each carried, and of records."""

    seen: int
    recorded: int
    lost: int
    repeated: int
    interrupted: int
    never_asked: int
    """Interrupted records of calls that upstream never saw: the proxy died between the two."""
    two_ids: int
    wrong: int
    """Records that name another call than the one whose span they have."""

    @property
    def repeated_share(self) -> float:
        return self.repeated / max(1, self.recorded)


def count(seen: Iterable[tuple[int, str, str]], records: list[Record]) -> Count:
    """Match calls and records by span id; every tenth record is checked against the schema."""
    for record in records[::10]:
        checked(record)
    asked = {(trace, span): number for number, trace, span in seen}
    by_call: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_call[record["trace_id"], record["span_id"]].append(record)
    ids = {record["id"] for record in records}
    # of an interrupted and a finished record with one id the finished one counts
    finished = {record["id"] for record in records if record["status"] != "interrupted"}
    wrong = sum(
        not record["prompt"][0]["content"].startswith(f"call {asked[call]}.")
        for call, found in by_call.items()
        if call in asked
        for record in found
    )
    return Count(
        seen=len(asked),
        recorded=len(ids),
        lost=len(asked.keys() - by_call.keys()),
        repeated=len(records) - len(ids),
        interrupted=len(ids - finished),
        never_asked=len(by_call.keys() - asked.keys()),
        two_ids=sum(len({record["id"] for record in found}) > 1 for found in by_call.values()),
        wrong=wrong,
    )


@dataclass(frozen=True)
class Waits:
    """How long something took, in milliseconds."""

    number: int
    half: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Waits":
        ordered = sorted(one * 1000 for one in seconds)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
        return cls(len(ordered), at[0], at[1], ordered[-1])
