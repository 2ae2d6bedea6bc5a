"""Policy expressions: parses and evaluates the small subset of C# that the policies here use.

    choice    = chain [ "?" choice ":" choice ]        chain = value { "??" value }
    value     = [ "(" type ")" ] primary { "." name | "?." name | "[" choice "]" | "(" [ choice { "," choice } ] ")" }
    primary   = "(" choice ")" | text | name

Anything else raises SyntaxError. Of .NET only the members of `Context` and `Jwt` exist; any other raises
AttributeError.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|\?\?|\?\.|[?:.,()\[\]]|[A-Za-z_]\w*)')

type Value = Callable[[Mapping[str, Any]], Any]


class Variables(dict[str, Any]):
    def ContainsKey(self, name: str) -> bool:
        return name in self


class Claims(dict[str, str]):
    def GetValueOrDefault(self, name: str, default: str) -> str:
        return self.get(name, default)


@dataclass
class Jwt:
    """A validated token."""

    Claims: Claims


@dataclass
class Named:
    """A subscription, a product or a user."""

    Id: str


@dataclass
class Guid:
    """An id that .NET does not take for text."""

    text: str = "00000000-0000-0000-0000-000000000000"

    def ToString(self) -> str:
        return self.text


@dataclass
class Context:
    """The gateway's knowledge of a request: `context` in an expression."""

    Subscription: Named | None = None
    Product: Named | None = None
    User: Named | None = None
    Variables: Variables = field(default_factory=Variables)
    RequestId: Guid = field(default_factory=Guid)


def evaluate(text: str, context: Context) -> str:
    """A policy's value: the text itself, or the result of an `@(…)`. Raises SyntaxError for any other expression."""
    text = text.strip()
    if not text.startswith("@"):
        return text
    if not (text.startswith("@(") and text.endswith(")")):
        raise SyntaxError(f"not a single-line expression: {text}")
    return str(_Parser(text[1:]).whole()({"context": context}))


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if found is None:
                raise SyntaxError(f"unexpected: {text[at:]}")
            self._tokens.append(found[1])
            at = found.end()

    def whole(self) -> Value:
        value = self._choice()
        if self._tokens:
            raise SyntaxError(f"unexpected: {self._tokens}")
        return value

    def _choice(self) -> Value:
        condition = self._chain()
        if not self._take("?"):
            return condition
        yes = self._choice()
        self._expect(":")
        no = self._choice()
        return lambda names: yes(names) if condition(names) is True else no(names)

    def _chain(self) -> Value:
        first = self._value()
        if not self._take("??"):
            return first
        rest = self._chain()
        return lambda names: rest(names) if (value := first(names)) is None else value

    def _value(self) -> Value:
        if self._tokens[:3] == ["(", "Jwt", ")"]:
            del self._tokens[:3]
            return self._value()
        value = self._primary()
        while self._tokens and self._tokens[0] in (".", "?.", "[", "("):
            value = self._step(value, self._tokens.pop(0))
        return value

    def _step(self, of: Value, kind: str) -> Value:
        if kind == "[":
            index = self._choice()
            self._expect("]")
            return lambda names: of(names)[index(names)]
        if kind == "(":
            given = [self._choice()] if self._tokens[:1] != [")"] else []
            while self._take(","):
                given.append(self._choice())
            self._expect(")")
            return lambda names: of(names)(*(value(names) for value in given))
        member = self._tokens.pop(0)
        if kind == "?.":
            return lambda names: None if (value := of(names)) is None else getattr(value, member)
        return lambda names: getattr(of(names), member)

    def _primary(self) -> Value:
        token = self._tokens.pop(0)
        if token == "(":
            inner = self._choice()
            self._expect(")")
            return inner
        if token.startswith('"'):
            return lambda names: token[1:-1]
        if not token.isidentifier():
            raise SyntaxError(f"unexpected: {token}")
        return lambda names: names[token]

    def _take(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        del self._tokens[0]
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise SyntaxError(f"{token} expected before {self._tokens}")
