"""The chaos in small, for every run of the heavy tests: what it counts, and not how long anything takes."""

from pathlib import Path

import pytest

from tests.chaos import chaos
from tests.chaos.stage import stage

CALLS = 1500


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_no_call_is_without_its_record(tmp_path: Path) -> None:
    """The hub is killed, frozen and throttled, the proxy is killed five times: every call that upstream saw has a
    record, of that call, and whatever arrives twice has one id.

    How much arrives twice is for the long run: one batch that was not acknowledged may be a tenth of this one.
    """
    with stage(tmp_path) as running:
        found = chaos.run(running, CALLS, 15.0)
    assert found.count.seen >= CALLS
    assert found.count.lost == 0
    assert found.count.two_ids == 0
    assert found.count.wrong == 0
    assert found.lost_by_reason == {}
    assert found.count.interrupted > 0, "no call was cut by the kills: nothing was put to the test"
