"""The structure of the code: which rooms import which, and the rules for every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("app", "otel", "exporters", "dev", "analytics", "bench")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [ROOT / "function_app.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
}
# The rooms of app/, each with those it may import; none imports a room above it.
ROOMS_OF_APP = {
    "app.relay": ("app.door", "app.answer", "app.upstream", "app.operations"),
    "app.sessions": ("app.relay", "app.door", "app.answer", "app.upstream", "app.operations"),
    "app.door": ("app.upstream", "app.operations"),
    "app.answer": ("app.operations",),
    "app.upstream": (),
    "app.operations": (),
    "app.settings": (),
    "app.doctor": (),
}
# The only files of app/ outside rooms: those that join the rooms, and those that all of them need.
JOINS_ROOMS = {
    "app.main": ("app", "otel", "exporters"),
    "app.proxy_app": ("app.door", "app.operations", "app.relay", "app.server_spans", "app.errors", "app.headers"),
    "app.lifecycle": ("app.relay.calls", "app.upstream"),
    "app.health": (),
    "app.server_spans": ("app.operations",),
    "app.errors": (),
    "app.headers": (),
}
# Which of our modules a module may import; the longest matching entry applies.
MAY_IMPORT = {
    "function_app": ("app.main",),
    "app": (),
    **JOINS_ROOMS,
    **{room: (room, *below, "app.errors", "app.headers", "otel") for room, below in ROOMS_OF_APP.items()},
    "exporters": ("exporters", "otel.attributes"),
    "otel": ("otel",),
    "dev.traced": ("dev", "app.main", "otel.attributes"),
    **{room: (room,) for room in ("dev", "analytics", "bench")},
}
NOT_FOR = {"app.main": ("function_app", "dev.traced")}  # wired once: nothing else imports it
# orjson reads and writes all JSON here
THIRD_PARTY = {"otel": ("opentelemetry", "azure.monitor", "orjson"), "exporters": ("opentelemetry", "azure", "orjson")}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def imported(module: str) -> Iterator[str]:
    """The full names of the modules that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else str(node.module)


@pytest.mark.parametrize("module", FILES)
def test_imports_go_one_way(module: str) -> None:
    """function_app → app.main → relay → door, answer, upstream → operations → otel; exporters → otel.attributes."""
    rules = MAY_IMPORT[max((rule for rule in MAY_IMPORT if within(module, rule)), key=len)]
    for name in imported(module):
        if within(name, "function_app", "tests", *ROOMS):
            assert within(name, *rules), f"{module} imports {name}"
            assert module in NOT_FOR.get(name, (module,)), f"{module} imports {name}"
        elif (room := module.partition(".")[0]) in THIRD_PARTY and name.partition(".")[
            0
        ] not in sys.stdlib_module_names:
            assert within(name, *THIRD_PARTY[room]), f"{module} imports {name}"


def test_every_file_of_app_is_in_a_room() -> None:
    """Only files that join the rooms, or that all of them need, are at the top level."""
    outside = {module for module in FILES if within(module, "app") and not within(module, *ROOMS_OF_APP)}
    assert outside == {"app", *JOINS_ROOMS}


def test_nothing_imports_in_a_circle() -> None:
    """No module imports itself by way of others, for types alone included."""
    imports = {module: {name for name in imported(module) if name in FILES} - {module} for module in FILES}
    while leaves := {module for module, names in imports.items() if not names & imports.keys()}:
        imports = {module: names for module, names in imports.items() if module not in leaves}
    assert sorted(imports) == [], "these are in a circle, or import one that is"


@pytest.mark.parametrize("module", FILES)
def test_a_module_has_a_docstring_and_no_import_effects(module: str) -> None:
    """Its top level only defines things."""
    tree = ast.parse(FILES[module].read_text())
    assert ast.get_docstring(tree), f"{module} has no docstring"
    if module == "function_app":
        return  # the Functions host imports it to find the functions: the import starts it
    for node in tree.body:
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Assign() | ast.AnnAssign() | ast.TypeAlias() | ast.Assert():
                pass
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Expr(value=ast.Constant()):
                pass
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
                pass
            case _:
                pytest.fail(f"{module}:{node.lineno} does something when imported")


def test_files_have_at_most_300_lines() -> None:
    """All Python files, including tests."""
    paths = [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]
    lines = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in paths}
    assert "tests/test_architecture.py" in lines
    assert {name: count for name, count in lines.items() if count > 300} == {}


@pytest.mark.parametrize("module", FILES)
def test_names_are_specific(module: str) -> None:
    """No name contains a word that fits everything."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = [node.name for node in ast.walk(ast.parse(FILES[module].read_text())) if isinstance(node, kinds)]
    for name in [module, *names]:
        empty = [word for word in ("util", "helper", "manager", "common", "misc") if word in name.lower()]
        assert not empty, f"{module}: {name}"


WATCHED_IMPORT = """
import os, signal, sys, threading
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ACTS = ("socket.", "subprocess.", "os.mkdir", "os.rename", "os.remove", "os.fork", "os.exec", "os.posix_spawn")

def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
    if writes or (event.startswith(ACTS) and event not in ("socket.gethostname", "socket.__new__")):
        print("while importing:", event, arguments)

signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
sys.addaudithook(watch)
for module in sys.argv[1:]:
    __import__(module)
if threading.active_count() > 1:
    print("threads:", threading.enumerate())
if signals != {number: signal.getsignal(number) for number in signals}:
    print("a signal handler was replaced")
print(*(module for module in sys.modules if module.startswith("azure.monitor")), sep="", end="")
"""


def test_importing_has_no_side_effects() -> None:
    """Importing the proxy writes no file, opens no connection, starts no thread, and does not load azure.monitor."""
    modules = [module for module in FILES if within(module, "app", "otel", "exporters")]
    for first in (["app.main"], modules):
        ended = subprocess.run(
            [sys.executable, "-B", "-c", WATCHED_IMPORT, *first],
            cwd=ROOT,
            env={"PATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
