"""A stand-in for API Management: a server that applies the policy to each request and forwards it to the proxy.

It checks subscription keys, and with W3C correlation adds its own span to the caller's trace and decides on sampling,
as the real one does: https://learn.microsoft.com/azure/api-management/api-management-howto-app-insights
"""

import http.client
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.infra.apim.expression import Context, Named
from tests.infra.apim.policy import Policy, Refused, Request

HOP_BY_HOP = ("connection", "transfer-encoding", "host", "date", "server")


@dataclass
class Gateway:
    """Serves on `url` while its context is entered."""

    policy: Policy
    backend: str
    subscriptions: Mapping[str, Context]
    """By their keys."""
    claims: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sampled: bool = True
    sent: list[Request] = field(default_factory=list)
    """The requests sent to the proxy, in order."""

    def __enter__(self) -> "Gateway":
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                gateway.handle(self)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def handle(self, client: BaseHTTPRequestHandler) -> None:
        """Handle one request."""
        parts = urlsplit(client.path)
        body = client.rfile.read(int(client.headers["content-length"]))
        request = Request(client.headers.items(), parse_qsl(parts.query), Context(), self.claims)
        try:
            request.context = self._authenticate(request)
            self._trace(request)
            self.policy.inbound(request)
        except Refused as refusal:
            client.send_response(refusal.status)
            for name, value in {**refusal.headers, "content-length": "0"}.items():
                client.send_header(name, value)
            client.end_headers()
            return
        self.sent.append(request)
        self._forward(client, request, f"{parts.path}?{urlencode(request.query)}", body)

    def _authenticate(self, request: Request) -> Context:
        key = request.header("api-key") or dict(request.query).get("subscription-key", "")
        known = self.subscriptions.get(key)
        if known is None:
            raise Refused(401)
        return Context(known.Subscription, known.Product, known.User)

    def _trace(self, request: Request) -> None:
        found = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-(0[01])", request.header("traceparent") or "")
        trace_id, flags = (found[1], found[2]) if found else (secrets.token_hex(16), f"0{int(self.sampled)}")
        request.headers = [(name, value) for name, value in request.headers if name.lower() != "traceparent"]
        request.headers.append(("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-{flags}"))

    def _forward(self, client: BaseHTTPRequestHandler, request: Request, target: str, body: bytes) -> None:
        forward = self.policy.forward()
        connection = http.client.HTTPConnection(self.backend.removeprefix("http://"), timeout=forward.timeout)
        headers = {name: value for name, value in request.headers if name.lower() not in HOP_BY_HOP}
        connection.request("POST", target, body, headers)
        response = connection.getresponse()
        client.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in (*HOP_BY_HOP, "content-length"):
                client.send_header(name, value)
        client.send_header("transfer-encoding", "chunked")
        client.end_headers()
        while part := response.read() if forward.buffer_response else response.read1(65536):
            client.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        client.wfile.write(b"0\r\n\r\n")
        connection.close()


def caller(subscription: str, product: str = "azure-openai", user: str | None = None) -> Context:
    """A subscription to a product, and its owner."""
    return Context(Named(subscription), Named(product), Named(user) if user else None)
