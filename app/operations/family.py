"""A family of paths: one API of a resource, with its operations, paths, key headers and error shape.

Families    the table of families                     (__init__.py)
Family      one line of that table
Target      where a path of a family leads
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from app.errors import ProxyError
from app.operations.operation import Operation, Plain

_PLAIN = Plain()


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path of a family leads."""

    suffix: str
    """The path after the family's prefix, version and deployment: `chat/completions`. Without a slash at its end."""
    deployment: str | None = None
    takes_api_version: bool = True
    """Whether upstream expects `api-version` in the query."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Everything that differs between families of paths."""

    name: str
    """Its name among a backend's `kinds`."""
    prefix: str
    """What its paths start with: `/openai/`."""
    operations: Mapping[str, Operation]
    """POST, by `Target.suffix` in lower case; `*` stands for an id in it. Any other path is a plain call."""
    target: Callable[[str], Target]
    """Parses a decoded path, which starts with the prefix."""
    error_body: Callable[[ProxyError], bytes]
    """The JSON of an error of the proxy's own, in the shape that this family's clients read."""
    sessions: frozenset[str]
    """The decoded paths at which WebSocket sessions begin."""
    key_headers: tuple[bytes, ...]
    """Headers in which its clients send a key, besides a bearer token; lower case."""
    stored: Mapping[str, Operation] = field(default_factory=dict)
    """GET of a stored object, likewise: `responses/*`."""

    provider: str = "azure.ai.openai"
    """Who serves it, as `gen_ai.provider.name` says."""
    upstream_keys: tuple[str, ...] = ("api-key",)
    """Headers in which a resource takes its key."""

    def operation(self, target: Target, method: str = "POST") -> Operation:
        """The operation of a request; `Plain` for an unknown one."""
        suffix = target.suffix.lower()
        if method == "POST":
            return self.operations.get(suffix) or _with_ids(self.operations, suffix) or _PLAIN
        return _with_ids(self.stored, suffix) or _PLAIN if method == "GET" else _PLAIN

    def begins_session(self, path: str) -> bool:
        """Whether WebSocket sessions begin at a decoded path."""
        return path.removesuffix("/").lower() in self.sessions

    @property
    def route(self) -> str:
        """The route of its SERVER spans."""
        return self.prefix + "{path:path}"


def _with_ids(operations: Mapping[str, Operation], suffix: str) -> Operation | None:
    """The operation whose path has ids where the pattern has `*`."""
    segments = suffix.split("/")
    for pattern, operation in operations.items():
        expected = pattern.split("/")
        if len(expected) == len(segments) and all(
            one == other or (one == "*" and other) for one, other in zip(expected, segments, strict=True)
        ):
            return operation
    return None


class Families:
    """The families that a proxy serves. The first is the default: its error shape applies outside any family."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)
        self.default = self._families[0]
        self.prefixes = tuple(family.prefix for family in self._families)
        self.named = ", ".join(f"{prefix}…" for prefix in self.prefixes)
        """All prefixes, for a message."""
        self.key_headers = frozenset(name for family in self._families for name in family.key_headers)
        """Where a client's key may be, which must not go upstream."""

    def of(self, path: str) -> Family | None:
        """The family of a decoded path; None outside all of them."""
        for family in self._families:
            if path.startswith(family.prefix):
                return family
        return None
