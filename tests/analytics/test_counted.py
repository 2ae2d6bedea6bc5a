"""Each response's usage counts once in the view Calls, whoever fetched it, how often, and in any order of arrival."""

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics.ask.__main__ import answer
from analytics.ask.questions import Question
from analytics.folder import LocalFolder
from analytics.rows import parse, table_of
from analytics.table import Part, by_hour, encoded
from tests.analytics.kit import START, line, rows

HOUR = timedelta(hours=1)
PENDING: dict[str, Any] = {"usage": None, "usage_source": "pending", "response_id": "resp_1", "units": None}
FETCH: dict[str, Any] = {"operation": "fetch_response", "response_id": "resp_1", "units": {"web_search_calls": 1}}
BOB = {"caller": {"user_id": "bob"}}


def written(table: Path, *bodies: bytes) -> Path:
    """A table with a file for each record, in the order of their arrival."""
    folder = LocalFolder(table)
    for number, body in enumerate(bodies):
        for hour, of_hour in by_hour(table_of([parse(body)])).items():
            folder.write(Part(hour, "ab", "0", number, number).name, encoded(of_hour))
    return table


def counting(table: Path) -> list[tuple[Any, ...]]:
    """Rows that have usage in the view, by who pays."""
    found = rows(table, "id, user_id, total_tokens, cached_tokens, units, operation")
    return [
        (int(row["id"], 16), row["user_id"], row["total_tokens"]) for row in found if row["total_tokens"] is not None
    ]


CALLS = [
    line(1, START, **PENDING),
    line(2, START + HOUR, **FETCH, **BOB),
    line(3, START + 2 * HOUR, **FETCH),
    line(4, START + 3 * HOUR, **FETCH),
]


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))], ids=str)
def test_a_background_response_counts_once(tmp_path: Path, order: tuple[int, ...]) -> None:
    """With the earliest record that reports its usage, whose caller pays; also across hours."""
    table = written(tmp_path, *(CALLS[index] for index in order))
    assert counting(table) == [(2, "bob", 30)]
    assert [row["units"] for row in rows(table, "units, id")] == ["", '{"web_search_calls":1}', "", ""]
    assert [row["status"] for row in rows(table, "status, id")] == ["completed"] * 4


def test_a_stored_response_counts_with_the_call_that_made_it(tmp_path: Path) -> None:
    """Its GETs add nothing; other responses, and calls without an id, are not touched."""
    table = written(
        tmp_path,
        line(1, START, response_id="resp_1"),
        line(2, START + HOUR, **FETCH),
        line(3, START, response_id="resp_2"),
        line(4, START),
        line(5, START + HOUR),
    )
    assert [number for number, _, _ in counting(table)] == [1, 3, 4, 5]


def test_what_was_estimated_gives_way_to_what_was_reported(tmp_path: Path) -> None:
    """A broken stream of a stored response was estimated; its fetch tells the truth."""
    table = written(
        tmp_path, line(1, START, response_id="resp_1", usage_source="estimated"), line(2, START + HOUR, **FETCH)
    )
    assert [number for number, _, _ in counting(table)] == [2]


def test_the_pending_question_lists_responses_that_never_told(tmp_path: Path) -> None:
    """With who asked and how often they were fetched; one that was told later is not listed."""
    table = written(
        tmp_path,
        line(1, START, **PENDING, **BOB),
        line(2, START + HOUR, **(PENDING | {"operation": "fetch_response"})),
        line(3, START, **(PENDING | {"response_id": "resp_2"})),
        line(4, START + HOUR, **(FETCH | {"response_id": "resp_2"})),
    )
    (found,) = answer(Question("pending"), str(table)).to_pylist()
    assert (found["response_id"], found["user_id"], found["fetches"]) == ("resp_1", "bob", 1)
    assert found["age_hours"] > 1
