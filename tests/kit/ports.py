"""Ports that are held: an address that is given away and may be listened on later, or never."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody is given by chance. Nobody listens there but who is told of it: the kernel lets
    a second socket have it where both ask for SO_REUSEADDR, as servers do, and keeps it from those that take any."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
