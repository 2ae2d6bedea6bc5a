"""Attempts: tries one backend after the other until one gives a response that the client should get."""

import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from app.door.door import Admitted
from app.door.inbound import Body, Inbound
from app.errors import DeploymentNotFound, UpstreamUnreachable
from app.headers import to_upstream
from app.relay.backends import Backend, Backends, retry_after
from app.relay.held import Held, UpstreamResponse, note_backend
from app.relay.stored import StoredCall
from app.upstream import Answer, Disconnected, Origin, Pool, Request, UpstreamFault
from otel.call import Attempt, Call

RETRY_STATUSES: Final = frozenset({408, 429})
ERROR_BYTES: Final = 64 * 1024
MAX_REFUSALS: Final = 1000
REJECTS_FIELDS: Final = frozenset({400, 422, 501})
"""What servers respond to a field that they do not know or do not support."""
CLIENT_ERRORS: Final = re.compile(rb'"(content_filter|content_policy_violation|context_length_exceeded)"')
"""Codes of a 400 that the client's own body causes."""
IDENTITY: Final = (b"accept-encoding", b"identity")


type Headers = list[tuple[bytes, bytes]]


class UsageRefusals:
    """Remembers where upstream rejects requests for usage, by deployment and api-version."""

    def __init__(self) -> None:
        self._known: set[tuple[str | None, str | None]] = set()

    def add(self, call: Call) -> None:
        """Upstream rejected it for this call."""
        if len(self._known) >= MAX_REFUSALS:  # a client may name any deployment
            self._known.clear()
        self._known.add((call.deployment, call.api_version))

    def covers(self, call: Call) -> bool:
        """Whether upstream would reject it for this call."""
        return (call.deployment, call.api_version) in self._known


class Attempts:
    """Sends calls upstream; shared by all of them. Nothing is sent to the client before `ask` returns."""

    def __init__(
        self,
        backends: Backends,
        pool: Callable[[], Pool],
        caller_headers: frozenset[bytes],
        usage_refusals: UsageRefusals,
    ) -> None:
        """`pool` gives the connections of the running loop; `caller_headers` are not sent upstream."""
        self._backends = backends
        self._pool = pool
        self._caller_headers = caller_headers
        self._usage_refusals = usage_refusals

    @property
    def several(self) -> bool:
        """Whether there are several backends."""
        return self._backends.several

    def check(self, deployment: str | None, kind: str) -> None:
        """Raise DeploymentNotFound unless a backend has the deployment and serves its family of paths."""
        if not self._backends.serving(deployment, kind):
            raise DeploymentNotFound("No backend of this proxy has the deployment.")

    async def ask(
        self, call: Call, admitted: Admitted, inbound: Inbound, trace: Headers, stored: StoredCall | None = None
    ) -> UpstreamResponse:
        """Try backends until one responds with anything but 408, 429 or 5xx, or none is left.

        A call of a stored object tries the others after a 404 too; if all respond so, the client gets the first 404. A
        streamed body can be sent only once. Raises UpstreamFault or UpstreamUnreachable if the last did not respond.
        """
        body = inbound.body
        with_usage = None if self._usage_refusals.covers(call) else inbound.asking
        order = self._order(call, inbound, stored, admitted.family.name)
        if not isinstance(body, bytes | bytearray | None):
            order = order[:1]
        headers = [*to_upstream(admitted.headers, self._caller_headers), *trace]
        held = Held()
        try:
            for backend in order:
                try:
                    received = await self._ask_backend(backend, call, admitted, headers, body, with_usage)
                    missing = stored is not None and await _is_missing(received, stored)
                except (UpstreamFault, UpstreamUnreachable) as fault:
                    self._backends.cool_off(backend, call.deployment, None)
                    held.keep_last(backend, fault)
                    continue
                if missing:
                    held.keep_missing(backend, received)
                elif self._should_retry(received.answer, backend, call):
                    held.keep_last(backend, received)
                else:
                    held.close()
                    return received
        except BaseException:
            held.close()
            raise
        return held.best(call)

    def _order(self, call: Call, inbound: Inbound, stored: StoredCall | None, kind: str) -> list[Backend]:
        """The backends to try; of one that is known to have a stored object, the others are only tried after a 404."""
        order = self._backends.order(call.deployment, inbound.sticky, kind)
        home = self._backends.named(stored.backend) if stored is not None and stored.backend is not None else None
        return order if home is None else [home, *(backend for backend in order if backend is not home)]

    def _should_retry(self, answer: Answer, backend: Backend, call: Call) -> bool:
        """Whether the backend cannot serve now, by its response; if so, it cools off."""
        if answer.status not in RETRY_STATUSES and answer.status < 500:
            return False
        pause = retry_after(answer.header(b"retry-after-ms"), answer.header(b"retry-after"))
        self._backends.cool_off(backend, call.deployment, pause)
        return True

    async def _ask_backend(
        self,
        backend: Backend,
        call: Call,
        admitted: Admitted,
        headers: Headers,
        body: Body,
        with_usage: bytes | bytearray | None,
    ) -> UpstreamResponse:
        if with_usage is None:
            return UpstreamResponse(await self._send(backend, call, admitted, headers, body))
        # the usage event could not be found in a compressed stream
        plain = [*(header for header in headers if header[0] != b"accept-encoding"), IDENTITY]
        answer = await self._send(backend, call, admitted, plain, with_usage)
        if answer.status not in REJECTS_FIELDS:
            return UpstreamResponse(answer, filters_usage=True)
        error = await _read_error(answer)
        if CLIENT_ERRORS.search(error):
            return UpstreamResponse(answer, error)
        answer.close()
        answer = await self._send(backend, call, admitted, headers, body)
        if answer.status < 400:  # so stream_options was the cause, not something the client wrote
            self._usage_refusals.add(call)
        return UpstreamResponse(answer)

    async def _send(self, backend: Backend, call: Call, admitted: Admitted, headers: Headers, body: Body) -> Answer:
        name, value = await backend.auth.header()
        origin, prefix = origin_and_prefix(backend.base_url)
        target = prefix + admitted.path + ("?" + admitted.query if admitted.query else "")
        length = None if isinstance(body, bytes | bytearray | None) else admitted.content_length
        names = admitted.family.upstream_keys if name == "api-key" else (name,)
        headers = [*headers, *((name.encode(), value.encode()) for name in names)]
        request = Request(admitted.method, target, headers, body, length)
        while True:
            attempt = Attempt(backend.name, time.monotonic_ns())
            call.attempts.append(attempt)
            note_backend(call, backend)
            try:
                answer = await self._pool().request(origin, request)
            except Disconnected as fault:
                # a pooled connection that upstream closed while it was idle or just now: no response, no fault
                if not fault.stale or not isinstance(body, bytes | bytearray | None):
                    raise
                continue
            attempt.http_status = answer.status
            return answer


async def _read_error(answer: Answer) -> bytes:
    """The beginning of an error's body."""
    try:
        return await answer.read(ERROR_BYTES)
    except BaseException:  # such as the cancellation of the call
        answer.close()
        raise


async def _is_missing(received: UpstreamResponse, stored: StoredCall) -> bool:
    """Whether a response says that a stored object is not on its backend."""
    if not stored.may_name_object or received.answer.status not in (400, 404):
        return False
    if received.answer.status == 404:
        return True
    received.already_read += await _read_error(received.answer)
    return b"previous_response_not_found" in received.already_read


@lru_cache
def origin_and_prefix(base_url: str) -> tuple[Origin, str]:
    """Where to connect for a backend, and the prefix of each path there."""
    return Origin.of(base_url), urlsplit(base_url).path
