"""A family of paths: one API of a resource, with its operations, its paths, its key headers and its shape of errors.

Families    the table: which families there are       (__init__.py)
Family      one of them, a line of that table
Target      what a path within it points to
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from app.errors import ProxyError
from app.operations.operation import Operation, Plain

_PLAIN = Plain()


@dataclass(frozen=True, slots=True)
class Target:
    """What a path of a family points to."""

    suffix: str
    """The path behind the family's prefix, version and deployment: `chat/completions`."""
    deployment: str | None = None
    takes_api_version: bool = True
    """Whether upstream expects `api-version` in the query."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Everything that differs between one family of paths and another."""

    name: str
    """Its name among a backend's `kinds`."""
    prefix: str
    """What its paths start with: `/openai/`."""
    operations: Mapping[str, Operation]
    """By `Target.suffix`. Any other path is passed on as a plain call."""
    target: Callable[[str], Target]
    """Reads a decoded path, which starts with the prefix."""
    error_body: Callable[[ProxyError], bytes]
    """The JSON that tells an error of the proxy's own to this family's clients."""
    sessions: frozenset[str]
    """The decoded paths at which WebSocket sessions begin."""
    key_headers: tuple[bytes, ...]
    """Where its clients present a key, beside a bearer token; in lower case."""

    def operation(self, target: Target) -> Operation:
        """The operation that a path asks for; one that only passes bytes on where none is known."""
        return self.operations.get(target.suffix, _PLAIN)

    @property
    def route(self) -> str:
        """The route of its SERVER spans."""
        return self.prefix + "{path:path}"


class Families:
    """The families that one proxy serves. The first one's shape of errors serves where no family is asked for."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)
        self.default = self._families[0]
        self.prefixes = tuple(family.prefix for family in self._families)
        self.named = ", ".join(f"{prefix}…" for prefix in self.prefixes)
        """All prefixes, for a message."""
        self.key_headers = frozenset(name for family in self._families for name in family.key_headers)
        """Where a client's key may be, which must not go upstream."""

    def of(self, path: str) -> Family | None:
        """The family of a decoded path."""
        for family in self._families:
            if path.startswith(family.prefix):
                return family
        return None
