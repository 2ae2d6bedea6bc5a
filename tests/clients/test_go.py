"""Go's net/http through the proxy as directly against the simulator."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.routes import Routes

pytestmark = pytest.mark.heavy

PROGRAM = Path(__file__).parent / "programs/calls.go"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program; skips without Go."""
    if shutil.which("go") is None or os.environ.get("CI") == "true":
        pytest.skip("Go's net/http: needs a Go toolchain, and is not run in CI")
    built = tmp_path_factory.mktemp("go") / "calls"
    subprocess.run(["go", "build", "-o", str(built), str(PROGRAM)], check=True, timeout=600)
    return str(built)


def test_calls_of_go(program: str, routes: Routes) -> None:
    """Three calls, a stream, a body with trailers, one that waits for `100 Continue` and a form go over one connection.

    Go sends no POST again when a kept connection turns out to be closed. How long the proxy keeps one is tested in
    tests/app/door.
    """
    calls, records = routes.compare(lambda route: route.run([program]))
    assert [call.note for call in calls] == ["new", *["reused"] * 4, "reused continued", "reused"]
    assert [record["content"] for record in records] == [call.text for call in calls]
    assert not any("user_id" in record.get("caller", {}) for record in records)
    assert records[6]["request_bytes"] > 4 << 20
