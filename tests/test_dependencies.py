"""docs/dependencies.md names every place that uses what a dependency does not publish, and the version it knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.altered import ALTERATIONS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/dependencies.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
FILES = [
    ROOT / "function_app.py",
    *(path for room in ("app", "otel", "exporters") for path in (ROOT / room).rglob("*.py")),
]
PUBLIC = {"os._exit"}


def is_private(name: str) -> bool:
    return name == "__self__" or (name.startswith("_") and not name.endswith("__"))


def internals_in(tree: ast.Module) -> Iterator[str]:
    """What a module uses of others that is private by its name: attributes, modules, names looked up as text."""
    own = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=ast.Store()):
                own.add(node.attr)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))) if is_private(node.attr):
                yield ast.unparse(node)
            case ast.Attribute() if is_private(node.attr) and node.attr not in own and ast.unparse(node) not in PUBLIC:
                yield ast.unparse(node)
            case ast.Import():
                yield from (alias.name for alias in node.names if any(map(is_private, alias.name.split("."))))
            case ast.ImportFrom():
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from (name for name in names if any(map(is_private, name.split("."))))
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                if is_private(name):
                    yield name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("batch._size = 1", ["batch._size"]),
        ("import azure.eventhub._pyamqp", ["azure.eventhub._pyamqp"]),
        ("from azure.eventhub._pyamqp import aio", ["azure.eventhub._pyamqp.aio"]),
        ("from opentelemetry.sdk.trace import _Span", ["opentelemetry.sdk.trace._Span"]),
        ("getattr(receive, '__self__', None)", ["__self__"]),
        ("class A(B):\n def _f(self): super()._f()", ["super()._f"]),
        ("class A:\n def f(self, other): self._a = other._a; self._b", []),
        ("__import__('os')._exit(0); kind.__name__", ["__import__('os')._exit"]),
    ],
)
def test_uses_of_internals_are_found(source: str, found: list[str]) -> None:
    """An attribute, a module, a method that is extended, a name as text; not what the module itself defines."""
    assert list(internals_in(ast.parse(source))) == found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_that_uses_internals_is_on_the_page(path: Path) -> None:
    found = list(internals_in(ast.parse(path.read_text())))
    if found:
        assert str(path.relative_to(ROOT)) in PAGE, found


def test_the_table_is_of_this_code() -> None:
    """Its files and the functions that check are there, and one with its own row uses what the row says."""
    for _, places, _, _, check, *_ in ROWS:
        assert all((ROOT / place).is_file() for place in places.split(", "))
        file, function = re.match(r"(\S+\.py) `(\w+)`", check).groups()
        assert f"def {function}(" in (ROOT / file).read_text()


def test_the_known_versions_are_those_that_are_pinned() -> None:
    """Who pins another has to look at the page."""
    pinned = (ROOT / "requirements.txt").read_text().splitlines()
    known = [row[3].replace(" ", "==") for row in ROWS]
    assert known
    assert [version for version in known if version not in pinned] == []


def test_each_shortcut_is_altered_in_a_test() -> None:
    assert {row[0].strip("`") for row in ROWS} == {alteration.shortcut for alteration in ALTERATIONS}
