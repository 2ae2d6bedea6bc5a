"""Stage: a proxy and the upstream behind it, for all tests of a module; each test brings upstream's script."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import environ
from tests.kit.hub import Broker
from tests.kit.upstream import Reply, Script, ScriptedUpstream, Seen


class Stage:
    """Started and ended as a context manager."""

    def __init__(self, start: Callable[[dict[str, str]], Any], broker: Broker, folder: Path) -> None:
        """`start` gives a proxy for an environment: ProxyThread, or ProxyProcess; `folder` is to hold its spool."""
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
        """Have upstream follow this script from now on; what it saw and what failed so far is of another test."""
        assert not self._upstream.failures, self._upstream.failures
        self._upstream.seen = []
        self._upstream.script = script
        return self._upstream


async def _nothing(request: Seen, reply: Reply) -> None:
    reply.writer.close()


def by_way(**ways: bytes | Script) -> Script:
    """An upstream that answers as the request's `x-way` says: by a script, or by bytes behind which it hangs up."""

    async def script(request: Seen, reply: Reply) -> None:
        way = ways[str(request.header("x-way"))]
        if not isinstance(way, bytes):
            await way(request, reply)
            return
        await reply.raw(way)
        reply.writer.close()

    return script
