"""Reserved ports: an address that a test can use before a server listens there, or without one."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that the kernel assigns to no other process. A server that is given its number can listen
    there: the kernel lets a second socket bind it if both set SO_REUSEADDR, as servers do."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
