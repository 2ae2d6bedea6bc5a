"""Stage: a proxy and a scripted upstream for all tests of a module; each test sets the upstream's script."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import environ
from tests.kit.hub import Broker, Record
from tests.kit.upstream import Reply, Script, ScriptedUpstream, Seen


class Stage:
    """Use as a context manager."""

    def __init__(self, start: Callable[[dict[str, str]], Any], broker: Broker, folder: Path) -> None:
        """`start` makes a proxy (ProxyThread or ProxyProcess) for an environment; its spool goes into `folder`."""
        self._start = start
        self._broker = broker
        self._folder = folder

    def __enter__(self) -> "Stage":
        self._upstream = ScriptedUpstream(_nothing)
        self._upstream.__enter__()
        self.proxy = self._start(environ(self._upstream.url, self._broker.conn_str, self._folder / "spool"))
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.close()
        self._upstream.__exit__()
        assert not self._upstream.failures, self._upstream.failures

    @property
    def url(self) -> str:
        return self.proxy.url

    def play(self, script: Script) -> ScriptedUpstream:
        """Set upstream's script, and forget the requests of previous tests."""
        assert not self._upstream.failures, self._upstream.failures
        self._upstream.seen, self._upstream.begun = [], []
        self._upstream.script = script
        return self._upstream


async def _nothing(request: Seen, reply: Reply) -> None:
    reply.writer.close()


def by_way(**ways: bytes | Script) -> Script:
    """An upstream that picks its response by the request's `x-way`: a script, or bytes before it disconnects."""

    async def script(request: Seen, reply: Reply) -> None:
        way = ways[str(request.header("x-way"))]
        if not isinstance(way, bytes):
            await way(request, reply)
            return
        await reply.raw(way)
        reply.writer.close()

    return script


def outcome(record: Record) -> tuple[Any, ...]:
    """Status, content and usage of a call."""
    return record["status"], record["content"], record["usage"]
