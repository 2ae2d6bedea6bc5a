"""The benchmark elsewhere than on Linux."""

import sys

import pytest

from bench.process import processors
from bench.tools import Missing


def test_another_system_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it needs, rather than to fail somewhere on its way."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Missing, match=r"needs Linux.*darwin"):
        processors()
