"""Receiver: an HTTP server on loopback that keeps every body and responds as the test says."""

import gzip
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NOTHING = None
"""As an answer: read the request and never respond."""


class Received:
    """A request as it arrived, its body decompressed."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.at = time.monotonic()


type Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """Serves in threads until closed. `answer` may be set at any time; it runs in the thread of the request."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], Answer | None] = lambda received: (200, {}, b"")
        self._more = threading.Condition()
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                receiver._serve(self)

            do_GET = do_CONNECT = do_POST

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def bodies(self) -> list[bytes]:
        return [received.body for received in list(self.received)]

    def wait_for[T](self, condition: Callable[[], T], seconds: float = 60.0) -> T:
        """Wait until `condition` is true of what has arrived, and return its value."""
        with self._more:
            assert self._more.wait_for(lambda: bool(condition()), seconds), (
                f"not among {len(self.received)} requests; the last is {self.bodies[-1:]}"
            )
            return condition()

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        received = Received(request.path, headers, body)
        answer = self.answer(received)
        with self._more:
            self.received.append(received)
            self._more.notify_all()
        if answer is NOTHING:
            self._closing.wait()
            request.close_connection = True
            return
        status, more, content = answer
        request.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **more}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)
