"""The stand-in for Event Hubs with the official clients of other languages, unmodified, over real AMQP."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.event_hubs.process import BrokerProcess
from tests.kit.npm import installed, needed_for

pytestmark = pytest.mark.heavy

CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(__file__).parents[2] / ".cache"

type Use = Callable[[str], Any]


def _javascript(environ: dict[str, str]) -> list[str]:
    with needed_for("Event Hubs' client for JavaScript"):
        folder = installed(CLIENTS / "hub-javascript")
    shutil.copy(CLIENTS / "hub-javascript/hub.mjs", folder)
    return ["node", str(folder / "hub.mjs")]


def _go(environ: dict[str, str]) -> list[str]:
    if shutil.which("go") is None or os.environ.get("CI") == "true":
        pytest.skip("Event Hubs' client for Go: needs a Go toolchain, and is not run in CI")
    program = CACHE / "hub-go"
    built = {**environ, "GOFLAGS": "-mod=readonly", "HOME": os.environ.get("HOME", str(CACHE))}
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=CLIENTS / "go", env=built, check=True, timeout=600)
    return [str(program)]


@pytest.fixture(params=[_javascript, _go], ids=["JavaScript", "Go"])
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Use]:
    """A function that runs a use of a language's client on a new hub and returns what it printed."""
    environ = dict(os.environ)
    command = request.param(environ)
    with BrokerProcess(tmp_path / "hub", "--partitions", "2") as broker:

        def run(name: str) -> Any:
            ended = subprocess.run(
                [*command, name],
                env={**environ, "HUB": broker.connection_string},
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            return json.loads(ended.stdout)

        yield run


def test_clients_send_and_receive(use: Use) -> None:
    """100 of 100 events, some of 150 KB, arrive unchanged and in order, and reading starts at the given position."""
    found = use("exchange")
    assert (found["partitions"], int(found["last"]), found["equal"]) == (2, 99, True)
    assert (int(found["sequence"]), int(found["offset"]), found["time"]) == (40, 41, True)


def test_the_higher_owner_level_wins(use: Use) -> None:
    """A reader with a higher owner level takes the partition, and the previous reader gets an error."""
    use("exchange")
    found = use("owner")
    assert found["won"] is True
    assert found["lost"] in ("ArgumentError", "ReceiverDisconnectedError", "ownershiplost"), found


def test_refusals_are_errors(use: Use) -> None:
    """A wrong key and an unknown partition fail, for sending and for properties, without endless retries."""
    found = use("refused")
    assert found["key"] == "UnauthorizedError" or "status code 401" in found["key"], found
    assert found["partition"] not in ("let in", False), found
    assert found["sending"] not in ("let in", False), found
