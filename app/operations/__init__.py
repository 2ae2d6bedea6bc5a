"""One file per Azure OpenAI operation: bodies and events become facts of the call. No I/O."""

from app.operations.chat import Chat
from app.operations.operation import Operation, Plain, Target, target_of

__all__ = ["Chat", "Operation", "Plain", "Target", "find_operation", "target_of"]

_BY_SUFFIX: dict[str, Operation] = {"chat/completions": Chat()}
_PLAIN = Plain()


def find_operation(target: Target) -> Operation:
    """The operation a path asks for; one that only passes bytes on where none is known."""
    return _BY_SUFFIX.get(target.suffix, _PLAIN)
