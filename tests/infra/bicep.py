"""A Bicep file: parsed by pycep, and tokenised where that parser cannot tell a name from text."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pycep import BicepParser

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"

type Tree = Mapping[str, Any]

_WORDS = re.compile(r"//[^\n]*|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|\d+|\n|\S")
_LANGUAGE = {
    *("targetScope", "param", "var", "resource", "module", "output", "existing", "if", "for", "in"),
    *("null", "true", "false", "string", "int", "bool", "array", "object"),
}


@dataclass(frozen=True)
class Declared:
    """A resource or module: its type and version, or its path, and its body without condition and loop."""

    kind: str
    version: str
    existing: bool
    body: Tree


class Template:
    """One .bicep file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        self.tree: Tree = BicepParser().parse(text=self.text)

    @property
    def parameters(self) -> dict[str, bool]:
        """The parameters' names, and whether they are optional."""
        return {name: found["default"] is not None for name, found in self.tree.get("parameters", {}).items()}

    @property
    def outputs(self) -> set[str]:
        return set(self.tree.get("outputs", {}))

    @property
    def variables(self) -> Tree:
        return {name: found["value"] for name, found in self.tree.get("variables", {}).items()}

    @cached_property
    def resources(self) -> dict[str, Declared]:
        return {
            name: Declared(found["type"], found["api_version"], found["existing"], _body(found["config"]))
            for name, found in self.tree.get("resources", {}).items()
        }

    @cached_property
    def modules(self) -> dict[str, Declared]:
        return {
            name: Declared(found["detail"]["path"], "", False, _body(found["config"]))
            for name, found in self.tree.get("modules", {}).items()
        }

    def of_type(self, kind: str) -> list[Declared]:
        """The resources of a type that this file creates."""
        return [found for found in self.resources.values() if found.kind == kind and not found.existing]

    @cached_property
    def names_used(self) -> set[str]:
        """Every name in an expression, without functions, properties, keys and keywords."""
        loops = re.findall(r"\bfor \(?(\w+)(?:, (\w+)\))? in\b", self.text)
        return set(_names(self.text)) - _LANGUAGE - {name for pair in loops for name in pair}

    @property
    def declared(self) -> set[str]:
        return {*self.parameters, *self.variables, *self.resources, *self.modules}

    @property
    def literals(self) -> list[str]:
        """Every string literal, with its interpolations as written."""
        return [word[1:-1] for word in _WORDS.findall(self.text) if word.startswith("'")]


def templates() -> dict[str, Template]:
    """All Bicep files in infra/, by relative path."""
    return {str(path.relative_to(INFRA)): Template(path) for path in sorted(INFRA.rglob("*.bicep"))}


def keys_in(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key anywhere in a tree, with its value."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield key.strip("'"), value
            yield from keys_in(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from keys_in(value)


def property_of(tree: Any) -> list[str]:
    """`a.b.c` as ["a", "b", "c"]."""
    if isinstance(tree, Mapping) and "operator" in tree:
        operands = tree["operator"]["operands"]
        return [*property_of(operands["operand_1"]), *property_of(operands["operand_2"])]
    return [str(tree)]


def _body(config: Tree) -> Tree:
    while "config" in config and set(config) <= {"config", "condition", "loop_type"}:
        config = config["config"]
    return config


def _names(text: str) -> Iterator[str]:
    words = [word for word in _WORDS.findall(text) if not word.startswith("//")]
    words = ["\n", *words, "\n"]
    declares = {"param", "var", "resource", "module", "output"}
    for before, word, after in zip(words, words[1:], words[2:], strict=False):
        if word.startswith("'"):
            for inner in re.findall(r"\$\{([^}]*)\}", word):
                yield from _names(inner)
        elif word.isidentifier():
            is_key = after == ":" and before in ("\n", "{", ",")
            is_property = before in (".", "?") and not text.count(f"? {word}")
            if not (is_key or is_property or after == "(" or before == "@" or before in declares):
                yield word
