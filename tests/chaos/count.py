"""The count: compares, call by call, what upstream saw with what arrived in the hub; and summarises durations."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tests.kit.hub import Record, checked


@dataclass(frozen=True)
class Count:
    """Numbers of calls that upstream saw, by their CLIENT spans, and of records."""

    seen: int
    recorded: int
    lost: int
    repeated: int
    interrupted: int
    never_sent: int
    """Interrupted records of calls that upstream never saw: the proxy was killed before it sent the request."""
    two_ids: int
    wrong: int
    """Records whose prompt is that of another call than their span."""

    @property
    def repeated_share(self) -> float:
        return self.repeated / max(1, self.recorded)


def count(seen: Iterable[tuple[int, str, str]], records: list[Record]) -> Count:
    """Match calls and records by span id; every tenth record is checked against the schema."""
    for record in records[::10]:
        checked(record)
    sent = {(trace, span): number for number, trace, span in seen}
    by_call: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        by_call[record["trace_id"], record["span_id"]].append(record)
    ids = {record["id"] for record in records}
    # a finished record replaces an interrupted one with the same id
    finished = {record["id"] for record in records if record["status"] != "interrupted"}
    wrong = sum(
        not record["prompt"][0]["content"].startswith(f"call {sent[call]}.")
        for call, found in by_call.items()
        if call in sent
        for record in found
    )
    return Count(
        seen=len(sent),
        recorded=len(ids),
        lost=len(sent.keys() - by_call.keys()),
        repeated=len(records) - len(ids),
        interrupted=len(ids - finished),
        never_sent=len(by_call.keys() - sent.keys()),
        two_ids=sum(len({record["id"] for record in found}) > 1 for found in by_call.values()),
        wrong=wrong,
    )


@dataclass(frozen=True)
class Durations:
    """Durations in milliseconds."""

    number: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Durations":
        ordered = sorted(one * 1000 for one in seconds)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0)
        at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99)]
        return cls(len(ordered), at[0], at[1], ordered[-1])
