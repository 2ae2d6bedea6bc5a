"""Fixtures for the tests of app/."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.answer.estimate import load_tokenizer
from tests.app.answer.tokenizers import NEW, OLD
from tests.app.relay.stage import Stage
from tests.kit.hub import Broker
from tests.kit.proxy import ProxyThread


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives an estimate more than its second, for slow machines."""
    monkeypatch.setattr("app.answer.estimate.CALL_S", 30.0)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Any]:
    """Both tokenizers, loaded once for all tests."""
    return {encoding: load_tokenizer(encoding) for encoding in (NEW, OLD)}


@pytest.fixture(scope="module")
def stage(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A proxy in a thread and a scripted upstream, shared by the tests of a module."""
    with Stage(ProxyThread, broker, tmp_path_factory.mktemp("stage")) as started:
        yield started
