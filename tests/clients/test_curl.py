"""curl through the proxy as directly against the simulator: offers of HTTP/2, `Expect`, HTTP/1.0, uploads in chunks."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.routes import CHAT, UPLOAD, Call, Route, Routes, call, chat

pytestmark = pytest.mark.heavy

type Curl = Callable[..., Callable[[Route], list[Call]]]


@pytest.fixture(scope="session")
def curl() -> Curl:
    """Describe one run of curl: `curl(path, b"body", "--http2")`; skips without curl and its HTTP/2."""
    found = subprocess.run(["curl", "--version"], capture_output=True, text=True) if shutil.which("curl") else None
    if found is None or " HTTP2" not in found.stdout:
        pytest.skip("curl with HTTP/2 is needed for the tests with curl")

    def describe(path: str, body: bytes | None, *arguments: str) -> Callable[[Route], list[Call]]:
        return lambda route: [run(route, path, body, *arguments)]

    return describe


def run(route: Route, path: str, body: bytes | None, *arguments: str) -> Call:
    """Run curl with a JSON body from its standard input, or without one of ours."""
    given = ["-H", f"api-key: {route.key}", "-H", f"traceparent: {route.traceparent}"]
    if body is not None:
        given += ["-H", "content-type: application/json", "-X", "POST"]
        given += [] if "-T" in arguments else ["--data-binary", "@-"]
    with tempfile.NamedTemporaryFile() as answer:
        report = '{"status":%{http_code},"version":"%{http_version}","headers":%{header_json}}'
        ended = subprocess.run(
            [
                "curl",
                "-q",
                "--noproxy",
                "*",
                "-sSNv",
                "-m",
                "120",
                *given,
                *arguments,
                "-o",
                answer.name,
                "-w",
                report,
                route.url + path,
            ],
            input=body or b"",
            capture_output=True,
            timeout=240,
            check=False,
        )
        told = ended.stderr.decode(errors="replace")
        assert ended.returncode == 0, told
        seen = json.loads(ended.stdout)
        head = {name: value[0] for name, value in seen["headers"].items()}
        sent = [line for line in told.splitlines() if line.startswith("> ")]
        notes = {
            "version": seen["version"].partition(".")[0],
            "framing": "chunked" if "transfer-encoding" in head else "length" if "content-length" in head else "close",
            "continued": "< HTTP/1.1 100 Continue" in told,
            "offered": any(line.lower().startswith("> upgrade: h2c") for line in sent),
            "chunked": any(line.lower().startswith("> transfer-encoding: chunked") for line in sent),
        }
        return call(seen["status"], head["content-type"], json.dumps(notes), Path(answer.name).read_bytes())


def noted(found: Call) -> dict[str, object]:
    """What curl says of a call."""
    return json.loads(found.note)


@pytest.mark.parametrize("stream", [False, True])
def test_an_offer_of_http_2(curl: Curl, routes: Routes, stream: bool) -> None:
    """`curl --http2` offers h2c with its JSON body: the call is served over HTTP/1.1."""
    body = chat("What is a trace? ✨", stream=stream)
    (found,), (record,) = routes.compare(curl(CHAT, body, "--http2"))
    assert (noted(found)["offered"], noted(found)["version"]) == (True, "1")
    assert record["type"] == ("stream_completion" if stream else "completion")
    assert record["request_bytes"] == len(body)


def test_an_offer_of_http_2_with_an_upload(curl: Curl, routes: Routes, tmp_path: Path) -> None:
    """A form of 3 MB behind the offer arrives whole: the transcript depends on its bytes."""
    sound = tmp_path / "sound.mp3"
    sound.write_bytes(bytes(range(256)) * (12 << 10))
    (found,), (record,) = routes.compare(curl(UPLOAD, None, "--http2", "-F", f"file=@{sound}"))
    assert noted(found)["offered"] is True
    assert record["operation"] == "transcription"
    assert record["request_bytes"] > 3 << 20


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_body_that_waits_for_100_continue(curl: Curl, routes: Routes, version: str) -> None:
    """With `Expect: 100-continue` curl is told to send its 1 MB of JSON, and then answered."""
    body = chat("word " * (1 << 18))
    expecting = (version, "-H", "Expect: 100-continue", "--expect100-timeout", "60")
    (found,), (record,) = routes.compare(curl(CHAT, body, *expecting))
    assert noted(found)["continued"] is True
    assert record["request_bytes"] == len(body) > 1 << 20


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0(curl: Curl, routes: Routes, stream: bool) -> None:
    """A client of HTTP/1.0 gets plain bytes: with a length, or up to the close."""
    (found,), _ = routes.compare(curl(CHAT, chat("What is latency?", stream=stream), "--http1.0"))
    assert noted(found)["framing"] == ("close" if stream else "length")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("arguments", [("-T", "-"), ("-H", "Transfer-Encoding: chunked")], ids=["-T", "header"])
def test_a_body_in_chunks(curl: Curl, routes: Routes, version: str, arguments: tuple[str, ...]) -> None:
    """A body without a length, with and without an offer of h2c, is the same body upstream."""
    body = chat("word " * 50_000)
    (found,), (record,) = routes.compare(curl(CHAT, body, version, *arguments))
    assert noted(found)["chunked"] is True
    assert record["request_bytes"] == len(body)
