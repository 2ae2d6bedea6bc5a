"""The JDK's HttpClient through the proxy as directly against the simulator. It offers h2c on every call."""

import os
import shutil
from pathlib import Path

import pytest

from tests.clients.routes import Routes

pytestmark = pytest.mark.heavy

PROGRAM = Path(__file__).parent / "programs/Calls.java"


def test_calls_of_the_jdk(routes: Routes) -> None:
    """JSON, a stream, a body that waits for `100 Continue`, a form of 4 MB without a length, and JSON behind it."""
    if shutil.which("java") is None or os.environ.get("CI") == "true":
        pytest.skip("the JDK's HttpClient: needs a JDK of 17 or later, and is not run in CI")
    calls, records = routes.compare(lambda route: route.run(["java", str(PROGRAM)]))
    assert [call.note for call in calls] == ["HTTP_1_1"] * 5
    assert [record["content"] for record in records] == [call.text for call in calls]
    assert [record["type"] for record in records].count("stream_completion") == 1
    assert (records[3]["operation"], records[3]["request_bytes"] > 4 << 20) == ("transcription", True)
