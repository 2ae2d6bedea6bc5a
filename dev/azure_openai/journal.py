"""Journal: the last requests as they arrived, and the faults queued for the next ones."""

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from dev.azure_openai.simulation import Simulation, UnknownWord
from dev.azure_openai.transport import Progress

_KEPT_REQUESTS = 1_000
_KEPT_BODY_BYTES = 1 << 20


@dataclass(frozen=True)
class Seen:
    """A request as it arrived, with the start of its body, and the progress of its response."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    body_bytes: int
    body_sha256: str
    progress: Progress

    def to_json(self) -> dict[str, object]:
        facts = vars(self) | {"body": self.body.decode(errors="replace")} | vars(self.progress)
        del facts["progress"]
        return facts


class Journal:
    """Keeps the last 1,000 requests and counts all of them."""

    def __init__(self) -> None:
        self._total = 0
        self._seen: deque[Seen] = deque(maxlen=_KEPT_REQUESTS)
        self._faults: deque[str] = deque()

    def add(self, request: web.Request, body: bytes) -> Progress:
        """Add a request; return the progress for its response to update."""
        self._total += 1
        progress = Progress()
        self._seen.append(
            Seen(
                number=self._total,
                method=request.method,
                path=request.raw_path,
                headers={name.lower(): ", ".join(request.headers.getall(name)) for name in request.headers},
                body=body[:_KEPT_BODY_BYTES],
                body_bytes=len(body),
                body_sha256=hashlib.sha256(body).hexdigest(),
                progress=progress,
            )
        )
        return progress

    def next_fault(self) -> str | None:
        """Take the next queued fault and return its words, if there is one."""
        return self._faults.popleft() if self._faults else None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_simulator/requests", self._show_requests),
            web.delete("/_simulator/requests", self._clear_requests),
            web.get("/_simulator/faults", self._show_faults),
            web.post("/_simulator/faults", self._add_faults),
            web.delete("/_simulator/faults", self._clear_faults),
        ]

    async def _show_requests(self, _: web.Request) -> web.Response:
        return web.json_response({"total": self._total, "requests": [seen.to_json() for seen in self._seen]})

    async def _clear_requests(self, _: web.Request) -> web.Response:
        self._total = 0
        self._seen.clear()
        return web.json_response({"total": 0})

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.json_response({"pending": list(self._faults)})

    async def _add_faults(self, request: web.Request) -> web.Response:
        fault = await request.json()
        words = str(fault["simulate"])
        try:
            Simulation().with_words(words)
        except UnknownWord as word:
            raise web.HTTPBadRequest(text=f"unknown word in a simulation: {word}") from word
        self._faults.extend([words] * int(fault.get("times", 1)))
        return await self._show_faults(request)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._faults.clear()
        return await self._show_faults(request)
