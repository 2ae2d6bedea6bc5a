"""Page: the page that shows the calls, and the consumer that writes its table from the stand-in's hub.

A real hub gets no page: the consumer would read all that it holds, from the beginning.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from dev.up.children import Child, Children
from dev.up.proxy import CannotStart, Proxy, free_port

_NEEDED: Final = ("duckdb", "fsspec", "orjson", "pyarrow", "starlette", "uvicorn")
_FLUSH_S: Final = 1.0
_GROUP: Final = "page"  # not $Default, which other readers of the hub use
_CHECKPOINTS: Final = "AZURE_CHECKPOINT_CONTAINER_URL"
_HUB: Final = ("AZURE_EVENTHUB_CONN_STR", "AZURE_EVENTHUB_NAME")


class Page:
    """Two processes; start them when no more times are measured."""

    def __init__(self, children: Children, directory: Path, proxy: Proxy, port: int) -> None:
        """The table goes into `directory`, which is temporary. If `port` is 0 or taken, a free port is used."""
        self._children = children
        self._table = directory / "table"
        self._proxy = proxy
        self._port = port
        self._server: Child | None = None
        self.available = proxy.hub_is_stand_in
        self.missing = [name for name in _NEEDED if find_spec(name) is None] if self.available else []

    async def start(self) -> None:
        """Start the consumer and the page's server, if there is a page."""
        if not self.available or self.missing:
            return
        table = ("--table", str(self._table))
        hub = dict(os.environ) | {name: self._proxy.settings[name] for name in _HUB}
        hub.pop(_CHECKPOINTS, None)  # a real container would keep checkpoints of a temporary hub
        reading = ("--group", _GROUP, "--flush-seconds", str(_FLUSH_S))
        await self._children.program("consumer", "analytics.consume", *table, *reading, environ=hub)
        try:
            port = free_port(self._port) if self._port else 0
        except CannotStart:
            port = 0
        self._server = await self._children.program("page", "analytics.dashboard", *table, "--port", str(port))

    async def address(self) -> str:
        """Wait for the page's address. Raises ChildEnded."""
        assert self._server is not None
        return await self._server.first_line()
