"""Attempts: asks one backend after the other until an answer is good enough to be the client's."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from app.door.door import Admitted
from app.door.inbound import Body, Inbound
from app.errors import DeploymentNotFound, UpstreamUnreachable
from app.headers import to_upstream
from app.relay.backends import Backend, Backends, retry_after
from app.upstream import Answer, Disconnected, Origin, Pool, Request, UpstreamFault
from otel.call import Attempt, Call

TRY_ANOTHER: Final = frozenset({408, 429})
ERROR_BYTES: Final = 64 * 1024
IDENTITY: Final = (b"accept-encoding", b"identity")


@dataclass(slots=True)
class Asked:
    """An answer whose body is yet to come, but for what was read of it already."""

    answer: Answer
    already_read: bytes = b""
    filters_usage: bool = False
    """Whether usage was asked for on the client's behalf, and its event is to be taken out."""


type Headers = list[tuple[bytes, bytes]]


class UsageRefusals:
    """Remembers where upstream refuses to be asked for usage, by deployment and api-version."""

    def __init__(self) -> None:
        self._known: set[tuple[str | None, str | None]] = set()

    def add(self, call: Call) -> None:
        """It was refused for this call."""
        self._known.add((call.deployment, call.api_version))

    def covers(self, call: Call) -> bool:
        """Whether it would be refused for this call."""
        return (call.deployment, call.api_version) in self._known


class Attempts:
    """What all calls share of asking upstream. Nothing has been sent to the client while this is at work."""

    def __init__(
        self,
        backends: Backends,
        pool: Callable[[], Pool],
        caller_headers: frozenset[bytes],
        usage_refusals: UsageRefusals,
    ) -> None:
        """`pool` gives the connections of the running loop; `caller_headers` are kept from upstream."""
        self._backends = backends
        self._pool = pool
        self._caller_headers = caller_headers
        self._usage_refusals = usage_refusals

    def check(self, deployment: str | None) -> None:
        """Raises DeploymentNotFound unless some backend has the deployment."""
        if not self._backends.serving(deployment):
            raise DeploymentNotFound("No backend of this proxy has the deployment.")

    async def ask(self, call: Call, admitted: Admitted, inbound: Inbound, trace: Headers) -> Asked:
        """Ask until a backend answers with something else than 408, 429 or 5xx, or none is left to try.

        A body that is a stream can be sent only once. Raises UpstreamFault or UpstreamUnreachable when the last
        one tried could not be reached.
        """
        body = inbound.body
        asking = None if self._usage_refusals.covers(call) else inbound.asking
        order = self._backends.order(call.deployment, inbound.sticky)
        if not isinstance(body, bytes | None):
            order = order[:1]
        headers = [*to_upstream(admitted.headers, self._caller_headers), *trace]
        for backend in order[:-1]:
            try:
                asked = await self._ask_one(backend, call, admitted, headers, body, asking)
            except (UpstreamFault, UpstreamUnreachable):
                self._backends.cool_off(backend, call.deployment, None)
                continue
            if not self._another_is_better(asked.answer, backend, call):
                return asked
            asked.answer.close()
        last = order[-1]
        try:
            asked = await self._ask_one(last, call, admitted, headers, body, asking)
        except (UpstreamFault, UpstreamUnreachable):
            self._backends.cool_off(last, call.deployment, None)
            raise
        self._another_is_better(asked.answer, last, call)
        return asked

    def _another_is_better(self, answer: Answer, backend: Backend, call: Call) -> bool:
        """Whether the answer says that this backend cannot serve now; it is then left alone for a while."""
        if answer.status not in TRY_ANOTHER and answer.status < 500:
            return False
        pause = retry_after(answer.header(b"retry-after-ms"), answer.header(b"retry-after"))
        self._backends.cool_off(backend, call.deployment, pause)
        return True

    async def _ask_one(
        self,
        backend: Backend,
        call: Call,
        admitted: Admitted,
        headers: Headers,
        body: Body,
        asking: bytes | None,
    ) -> Asked:
        if asking is None:
            return Asked(await self._send(backend, call, admitted, headers, body))
        # a compressed stream could not be searched for the event before it is sent on
        plain = [*(header for header in headers if header[0] != b"accept-encoding"), IDENTITY]
        answer = await self._send(backend, call, admitted, plain, asking)
        if answer.status != 400:
            return Asked(answer, filters_usage=True)
        error = await answer.read(ERROR_BYTES)
        if b"stream_options" not in error and b"include_usage" not in error:
            return Asked(answer, error)
        answer.close()
        answer = await self._send(backend, call, admitted, headers, body)
        if answer.status < 400:  # so it was the asking, and nothing that the client wrote
            self._usage_refusals.add(call)
        return Asked(answer)

    async def _send(self, backend: Backend, call: Call, admitted: Admitted, headers: Headers, body: Body) -> Answer:
        name, value = await backend.auth.header()
        origin, prefix = _where(backend.base_url)
        target = prefix + admitted.path + ("?" + admitted.query if admitted.query else "")
        length = None if isinstance(body, bytes | None) else admitted.content_length
        headers = [*headers, (name.encode(), value.encode())]
        request = Request(admitted.method, target, headers, body, length)
        while True:
            attempt = Attempt(backend.name, time.monotonic_ns())
            call.attempts.append(attempt)
            call.backend, call.server_address, call.server_port = backend.name, backend.host, backend.port
            try:
                answer = await self._pool().request(origin, request)
            except Disconnected as fault:
                # a kept connection that upstream closed while it lay idle, or at this very moment: no answer, no fault
                if not fault.stale or not isinstance(body, bytes | None):
                    raise
                continue
            attempt.http_status = answer.status
            return answer


@lru_cache
def _where(base_url: str) -> tuple[Origin, str]:
    """What to connect to for a backend, and what goes before each path."""
    return Origin.of(base_url), urlsplit(base_url).path
