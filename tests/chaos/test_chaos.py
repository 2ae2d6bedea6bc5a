"""A small chaos run: checks the counts, not the durations."""

import sys
from pathlib import Path

import pytest

from tests.chaos import __main__ as command
from tests.chaos import chaos
from tests.chaos.stage import stage
from tests.kit.linux import needs_proc

CALLS = 1500


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_every_call_has_its_record(tmp_path: Path) -> None:
    """The hub is killed, frozen and throttled, the proxy is killed five times: every call that upstream saw has its
    own record, and duplicates have equal ids.

    The share of duplicates is for the long run: one unacknowledged batch may be a tenth of this one.
    """
    needs_proc()
    with stage(tmp_path) as running:
        found = chaos.run(running, CALLS, 15.0)
    assert found.count.seen >= CALLS
    assert found.count.lost == 0
    assert found.count.two_ids == 0
    assert found.count.wrong == 0
    assert found.lost_by_reason == {}
    assert found.count.interrupted > 0, "no call was cut by the kills, so nothing was tested"


def test_another_system_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m tests.chaos` says that it needs Linux, and starts nothing."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sys, "argv", ["tests.chaos"])
    assert command.main() == 2
    assert capsys.readouterr().err == "The chaos tests need Linux: they read /proc; this is darwin.\n"
