"""Page: the page to look at the calls, over a table that a consumer of the stand-in's hub writes; two processes.

There is none over a real hub: what that holds would be read from its very beginning.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from dev.up.children import Child, Children
from dev.up.proxy import Proxy, Refused, free_port

_NEEDED: Final = ("duckdb", "fsspec", "orjson", "pyarrow", "starlette", "uvicorn")
_FLUSH_S: Final = 1.0
_GROUP: Final = "page"  # of its own: whoever else reads the hub reads as $Default
_CHECKPOINTS: Final = "AZURE_CHECKPOINT_CONTAINER_URL"
_HUB: Final = ("AZURE_EVENTHUB_CONN_STR", "AZURE_EVENTHUB_NAME")


class Page:
    """To be started when nothing else is to be measured."""

    def __init__(self, children: Children, directory: Path, proxy: Proxy, port: int) -> None:
        """`directory`, in which the table is, goes when all ends. Port 0, or one that is taken, becomes a free one."""
        self._children = children
        self._table = directory / "table"
        self._proxy = proxy
        self._port = port
        self._server: Child | None = None
        self.is_there = proxy.hub_is_stood_in_for
        self.missing = [name for name in _NEEDED if find_spec(name) is None] if self.is_there else []

    async def start(self) -> None:
        """Start the consumer and the page's server, if there is to be a page."""
        if not self.is_there or self.missing:
            return
        table = ("--table", str(self._table))
        hub = dict(os.environ) | {name: self._proxy.settings[name] for name in _HUB}
        hub.pop(_CHECKPOINTS, None)  # a real container would keep the places of a hub that is gone tomorrow
        reading = ("--group", _GROUP, "--flush-seconds", str(_FLUSH_S))
        await self._children.program("consumer", "analytics.consume", *table, *reading, environ=hub)
        try:
            port = free_port(self._port) if self._port else 0
        except Refused:
            port = 0
        self._server = await self._children.program("page", "analytics.dashboard", *table, "--port", str(port))

    async def address(self) -> str:
        """Wait for the address at which it can be opened. Raises ChildEnded."""
        assert self._server is not None
        return await self._server.first_words()
