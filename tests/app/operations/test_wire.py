"""Values from the wire: counts beyond belief are unknown, and readers never see them."""

import pytest

from app.operations.wire import MAX_COUNT, as_count, read_usage


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (11.0, 11), (MAX_COUNT, MAX_COUNT), (MAX_COUNT + 1, None), (2**63 - 1, None), (2**80, None), (-1, None)],
)
def test_counts_have_a_plausible_bound(value: object, count: int | None) -> None:
    """2^53, the largest integer that every reader of JSON has."""
    assert as_count(value) == count


def test_usage_without_a_plausible_prompt_is_unknown() -> None:
    """It would fail the questions of everybody who sums over it."""
    assert read_usage({"prompt_tokens": 2**63 - 1, "completion_tokens": 1}) is None
    usage = read_usage({"prompt_tokens": 1, "completion_tokens": 2**63 - 1})
    assert usage is not None
    assert usage.completion_tokens is None
