"""curl's offers of HTTP/2 through an nginx that passes them on, to the simulator and to the proxy."""

import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.routes import CHAT, UPLOAD, Call, Route, Routes, chat
from tests.clients.test_curl import noted, run
from tests.kit.azure import Trace
from tests.kit.hub import wait_until
from tests.kit.ports import held_port
from tests.kit.proxy import ProxyProcess

pytestmark = pytest.mark.heavy

CONF = Path(__file__).parent / "programs/nginx.conf"
PASSED = """
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering off;
"""


@pytest.fixture(scope="module")
def nginx(azure: str, running: ProxyProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of an nginx in front of the simulator and of the proxy; skips without nginx and curl."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("curl") is None:
        pytest.skip("offers of HTTP/2 through nginx: needs nginx (apt install nginx-light) and curl")
    directory = tmp_path_factory.mktemp("nginx")
    conf = directory / "nginx.conf"
    with held_port() as direct, held_port() as proxied:
        conf.write_text(
            ("user root;\n" if os.geteuid() == 0 else "")
            + CONF.read_text().format(
                directory=directory, direct=direct, proxied=proxied, simulator=azure, proxy=running.url, passed=PASSED
            )
        )
        process = subprocess.Popen([program, "-e", "stderr", "-c", conf])
        try:
            wait_until(lambda: process.poll() is not None or _listens(proxied))
            assert process.poll() is None, "nginx did not start"
            yield f"http://127.0.0.1:{direct}", f"http://127.0.0.1:{proxied}"
        finally:
            process.terminate()
            process.wait(60)


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True


@pytest.fixture
def through_nginx(azure: str, nginx: tuple[str, str], trace: Trace) -> Routes:
    """The two routes to the simulator, both through nginx."""
    return Routes(azure, *nginx, trace)


@pytest.mark.parametrize("stream", [False, True])
def test_an_offer_that_nginx_passes_on(through_nginx: Routes, stream: bool) -> None:
    """`Upgrade: h2c` reaches the proxy with the JSON body behind it, and the call is served."""

    def program(route: Route) -> list[Call]:
        return [run(route, CHAT, chat("What is a trace?", stream=stream), "--http2") for _ in range(2)]

    calls, records = through_nginx.compare(program)
    assert [noted(call)["offered"] for call in calls] == [True, True]
    assert {record["type"] for record in records} == {"stream_completion" if stream else "completion"}


def test_an_upload_behind_an_offer_that_nginx_passes_on(through_nginx: Routes, tmp_path: Path) -> None:
    """A form of 3 MB behind the offer arrives whole."""
    sound = tmp_path / "sound.mp3"
    sound.write_bytes(bytes(range(256)) * (12 << 10))
    _, (record,) = through_nginx.compare(lambda route: [run(route, UPLOAD, None, "--http2", "-F", f"file=@{sound}")])
    assert record["operation"] == "transcription"
