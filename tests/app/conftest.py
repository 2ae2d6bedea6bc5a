"""What several of these tests are given."""

from typing import Any

import pytest

from app.answer.estimate import load_tokenizer
from tests.app.answer.tokenizers import NEW, OLD


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate gets a second, which a machine may not have: what it says is what most tests are about."""
    monkeypatch.setattr("app.answer.estimate.CALL_S", 30.0)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Any]:
    """Both, read once for all tests: how long that takes is not what they are about."""
    return {encoding: load_tokenizer(encoding) for encoding in (NEW, OLD)}
