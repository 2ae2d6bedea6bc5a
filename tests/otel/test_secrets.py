"""No secret and no content leaves with telemetry, however calls end and destinations fail."""

import contextlib
import http.client
import itertools
import json
import signal
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.kit.hub import HubReader
from tests.kit.ingestion import Ingestion
from tests.kit.otlp import Collector, attributes
from tests.kit.proxy import ProxyProcess
from tests.kit.receiver import Receiver
from tests.kit.wire import CHAT, Client
from tests.otel.conftest import ANSWER_MARK, PROMPT_MARK, StartMonitored, question, storage, traceparent

CALLS: Final = 1000
FIRST: Final = 0x5EC << 100  # the first trace id
CLIENTS: Final = 8
PLANTED: Final = "planted-"
"""Part of every secret."""
KEYS: Final = ("planted-client-key", "planted-bearer.token.signature")

HEADERS: Final = {
    "api_key": KEYS[0],
    "authorization": "Bearer planted-bearer-that-does-not-count",
    "cookie": "session=planted-cookie",
    "ocp_apim_subscription_key": "planted-subscription-key",
    "x_functions_key": "planted-function-key",
    "x_apim_user_id": "planted-user",
    "x_custom": "planted-custom-header",
}
BY_BEARER: Final = HEADERS | {"api_key": "", "authorization": f"Bearer {KEYS[1]}"}
REFUSED: Final = HEADERS | {"api_key": "planted-wrong-key", "authorization": ""}
QUERIES: Final = (
    "code=planted-function-key-in-query",
    "subscription-key=planted-subscription-key-in-query",
    "%63ode=planted-under-an-escaped-name&sig=planted-signature",
    "api-key=planted-api-key-in-query&Code=planted-in-capitals",
    "",
)
V1: Final = "/openai/v1/"

type Ask = Callable[[Client, dict[str, str]], None]


def chat(case: str, *, stream: bool = False, more: dict[str, str] = HEADERS, **body: Any) -> Ask:
    """A chat call to which upstream responds as `case` says, read to its end."""

    def ask(caller: Client, headers: dict[str, str]) -> None:
        target = f"{CHAT}&{QUERIES[int(headers['traceparent'][3:35], 16) % len(QUERIES)]}"
        caller.send("POST", target, question(stream, **body), x_case=case, **more, **headers).read()

    return ask


def post(target: str, body: bytes, **more: str) -> Ask:
    def ask(caller: Client, headers: dict[str, str]) -> None:
        caller.send("POST", target, body, **(HEADERS | more), **headers).read()

    return ask


def abort(caller: Client, headers: dict[str, str]) -> None:
    """Disconnect from a stream that does not end."""
    answer = caller.send("POST", CHAT, question(True), x_case="endless", **HEADERS, **headers)
    answer.some()
    caller.leave()
    raise ConnectionAbortedError


def abort_upload(caller: Client, headers: dict[str, str]) -> None:
    """Disconnect in the middle of a request."""
    caller.send("GET", "/health/live").read()
    named = {"api-key": KEYS[0], "content-length": "100000", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    caller.connection.sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode() + question()[:60])
    caller.leave()
    raise ConnectionAbortedError


FORM: Final = (
    b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n%s\r\n'
    b'--x\r\ncontent-disposition: form-data; name="file"; filename="%s.wav"\r\n\r\n%s\r\n--x--\r\n'
) % ((PROMPT_MARK.encode(),) * 3)
CONTENT: Final = {
    "input": PROMPT_MARK,
    "instructions": PROMPT_MARK,
    "user": PROMPT_MARK,
    "metadata": {"for": PROMPT_MARK},
}
CASES: Final[tuple[Ask, ...]] = (
    chat(""),
    chat("", more=BY_BEARER, stop=[PROMPT_MARK], user=PROMPT_MARK),
    chat("", more=REFUSED),
    chat("", tools=[{"type": "function", "function": {"name": "f", "description": PROMPT_MARK}}]),
    chat("stream", stream=True),
    chat("tools", stream=True),
    chat("throttled"),
    chat("filtered", stream=True),
    chat("echo"),
    chat("down", stream=True),
    chat("cut", stream=True),
    chat("failed", stream=True),
    post(CHAT, b'{"messages": [{"content": "' + PROMPT_MARK.encode()),
    post(CHAT, b'["' + PROMPT_MARK.encode() + b'"]'),
    post(V1 + "responses", json.dumps({"model": "gpt-4o", **CONTENT}).encode()),
    post(V1 + "embeddings", json.dumps({"model": "ada", "input": [PROMPT_MARK], "user": PROMPT_MARK}).encode()),
    post(V1 + "audio/transcriptions", FORM, content_type="multipart/form-data; boundary=x"),
    post("/elsewhere?" + QUERIES[0], question()),
    abort,
    abort_upload,
)


@pytest.fixture(scope="module")
def proxy(monitored: StartMonitored, ingestion: Ingestion, collector: Collector) -> ProxyProcess:
    return monitored(
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.conn_str,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=planted-collector-key",
        OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST=".*",
        OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE=".*",
        AZURE_OPENAI_KEY="planted-upstream-key",
        PROXY_CLIENT_KEYS=",".join(KEYS),
        PROXY_SHUTDOWN_SECONDS="5",
    )


def trace_of(number: int) -> str:
    return f"{FIRST + number:032x}"


def call_all(url: str) -> None:
    """Make all calls, case after case, from parallel clients."""
    numbers = itertools.count()

    def run(_: int) -> None:
        caller = Client(url)
        while (number := next(numbers)) < CALLS:
            try:
                CASES[number % len(CASES)](caller, traceparent(FIRST + number))
            except (ConnectionError, http.client.HTTPException):  # caused by upstream, or by the caller itself
                caller.close()
                caller = Client(url)
        caller.close()

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(run, range(CLIENTS)))


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[set[bytes]]:
    """The content of the directory's files, read every 50 ms while the block runs."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def read() -> None:
        while not ended.wait(0.05):
            read_once()

    def read_once() -> None:
        for path in directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # sent, or renamed
                seen.add(path.read_bytes())

    thread = threading.Thread(target=read)
    thread.start()
    yield seen
    ended.set()
    thread.join()
    read_once()


def has_received(receiver: Receiver, marks: set[bytes]) -> Callable[[], bool]:
    """Whether each mark was in some body so far; each body is searched once."""
    searched, missing = 0, set(marks)

    def has_all() -> bool:
        nonlocal searched, missing
        new = receiver.bodies[searched:]
        searched += len(new)
        text = b"\n".join(new)
        missing = {mark for mark in missing if mark not in text}
        return not missing

    return has_all


def secrets_in(body: bytes) -> list[str]:
    """Which secrets are in a body, as they are or URL-encoded."""
    text = body.decode("utf-8", "replace")
    return [one for one in (PLANTED, PROMPT_MARK, ANSWER_MARK) if one in text or one in urllib.parse.unquote_plus(text)]


def test_no_secret_leaves_in_a_thousand_calls(
    proxy: Any, ingestion: Ingestion, collector: Collector, hub: HubReader
) -> None:
    """A thousand mixed calls from parallel clients, with errors, refusals and aborts, while ingestion fails every other
    time, and a shutdown that cuts a stream: no key, token, caller, header, prompt or answer is in any body sent to
    Application Insights or a collector, in any log line, or in any file of the offline storage."""
    ingestion.script = [200, 500, 206, 200, 429, 413] * 10_000
    with reading(storage(proxy)) as waiting:
        call_all(proxy.url)
        traces = {trace_of(number) for number in range(CALLS)}
        ingestion.wait_for(has_received(ingestion, {trace.encode() for trace in traces}))
        collector.wait_for(has_received(collector, {bytes.fromhex(trace) for trace in traces}))
        ingestion.script, ingestion.status = [], 500
        left = Client(proxy.url)
        open_stream = left.send("POST", CHAT, question(True), x_case="endless", **HEADERS)
        open_stream.some()
        proxy.signal(signal.SIGTERM)
        proxy.wait(60)
        left.close()

    # all kinds of calls were exported, stored and logged: the search below could have found something
    sent, spans = ingestion.everything(), collector.spans()
    assert {trace for trace in traces if trace not in sent} == set()
    assert traces - {span.trace_id.hex() for span in spans} == set()
    statuses = {attributes(span).get("proxy.status") for span in spans}
    assert statuses >= {"completed", "client_aborted", "upstream_error", "upstream_cut", "interrupted"}
    assert any(b"RemoteDependencyData" in text for text in waiting)
    assert any("cut off by the shutdown" in line for line in proxy.output)
    record = json.dumps(hub.record(trace_of(4)))
    assert PROMPT_MARK in record
    assert ANSWER_MARK in record

    for name, texts in {
        "Application Insights": ingestion.bodies,
        "the collector": collector.bodies,
        "the offline storage": list(waiting),
        "the log": [line.encode() for line in proxy.output],
    }.items():
        assert texts, f"{name} got nothing"
        assert secrets_in(b"\n".join(texts)) == [], name
