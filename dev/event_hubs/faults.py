"""The faults that tests inject while the broker runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Final, Literal

Count = int | bool
"""How often a fault still triggers: a number of times; True until cleared; False or 0 never."""


@dataclass(slots=True)
class Faults:
    """The active faults; by default none."""

    busy: Count = False
    """Batches are rejected with com.microsoft:server-busy."""
    reject: Count = False
    """Batches are rejected with `reject_condition`."""
    reject_condition: str = "amqp:internal-error"
    hold_acks: bool = False
    """Batches are stored, and their dispositions held until this is cleared."""
    lose_acks: Count = False
    """Batches are stored, and then the connection is reset; no disposition is sent."""
    drop_connection_after: int | None = None
    """After this many bytes of transfers the connection is reset and the batch lost; triggers once."""
    silent_open: bool = False
    """New TCP connections are accepted but get no response."""
    frozen: bool = False
    """Nothing is read from or written to any connection."""
    max_message_size: int | None = None
    """The limit, in bytes, of links attached after this is set."""
    idle_close: Literal["connection", "link"] | bool = False
    """A one-time action: closes all open connections or links as the service does when they are idle for too long."""

    def set(self, changes: dict[str, object]) -> None:
        """Change some faults. Raises ValueError for an unknown name or a wrong type, and then changes none."""
        for name, value in changes.items():
            if name not in _ACCEPTED:
                raise ValueError(f"no fault is called {name!r}; there are {', '.join(_ACCEPTED)}")
            if not _ACCEPTED[name](value):
                raise ValueError(f"{name} cannot be {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)

    def triggers(self, name: Literal["busy", "reject", "lose_acks"]) -> bool:
        """Whether a counted fault triggers now; a number counts down."""
        left: Count = getattr(self, name)
        if left and left is not True:
            setattr(self, name, left - 1)
        return bool(left)

    def active(self) -> dict[str, object]:
        default = Faults()
        return {name: value for name, value in asdict(self).items() if value != getattr(default, name)}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_size(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


_ACCEPTED: Final[dict[str, Callable[[object], bool]]] = {
    "busy": _is_count,
    "reject": _is_count,
    "reject_condition": lambda value: isinstance(value, str) and value.isascii(),
    "hold_acks": _is_bool,
    "lose_acks": _is_count,
    "drop_connection_after": _is_size,
    "silent_open": _is_bool,
    "frozen": _is_bool,
    "max_message_size": _is_size,
    "idle_close": lambda value: isinstance(value, bool) or value in ("connection", "link"),
}
assert set(_ACCEPTED) == {field.name for field in fields(Faults)}
