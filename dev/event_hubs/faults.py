"""The faults that tests switch on while the broker runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Final, Literal

Count = int | bool
"""How often a fault still strikes: a number of times, True until cleared, False or 0 not at all."""


@dataclass(slots=True)
class Faults:
    """What is in force now; the defaults are no fault at all."""

    busy: Count = False
    """Batches are rejected with com.microsoft:server-busy."""
    reject: Count = False
    """Batches are rejected with `reject_condition`."""
    reject_condition: str = "amqp:internal-error"
    hold_acks: bool = False
    """Batches are stored, their dispositions withheld until this is cleared."""
    lose_acks: Count = False
    """Batches are stored, then the connection is reset instead of the disposition."""
    drop_connection_after: int | None = None
    """Past this many bytes of transfers the connection is reset and the batch lost; strikes once."""
    silent_open: bool = False
    """New connections are accepted by TCP and get no answer."""
    frozen: bool = False
    """Nothing is read from any connection, and nothing is written."""
    max_message_size: int | None = None
    """The limit, in bytes, of links attached from now on."""
    idle_close: Literal["connection", "link"] | bool = False
    """An act, not a state: what is open now is closed as the service closes what was idle for too long."""

    def set(self, changes: dict[str, object]) -> None:
        """Change some faults. Raises ValueError at an unknown name or a wrong type, and then changes none."""
        for name, value in changes.items():
            if name not in _ACCEPTED:
                raise ValueError(f"no fault is called {name!r}; there are {', '.join(_ACCEPTED)}")
            if not _ACCEPTED[name](value):
                raise ValueError(f"{name} cannot be {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)

    def strikes(self, name: Literal["busy", "reject", "lose_acks"]) -> bool:
        """Whether a counted fault strikes now; a number counts down."""
        left: Count = getattr(self, name)
        if left and left is not True:
            setattr(self, name, left - 1)
        return bool(left)

    def in_force(self) -> dict[str, object]:
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
