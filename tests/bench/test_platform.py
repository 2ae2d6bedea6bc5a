"""The benchmark on systems other than Linux."""

import sys

import pytest

from bench.process import processors
from bench.tools import Missing


def test_another_system_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark says what it needs instead of failing later."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Missing, match=r"needs Linux.*darwin"):
        processors()
