"""The environment variables that the code reads, the deployment sets, and the documents describe."""

import ast
import re
from typing import Any

from infra.deployments import deployments
from tests.infra.deployed import ROOT

OPERATIONS = ROOT / "docs/operations.md"
_NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")


def read_by_settings() -> set[str]:
    """Every variable that app/settings/ names; only its files read the proxy's environment."""
    return {name for path in (ROOT / "app/settings").glob("*.py") for name in _texts(path.read_text())}


def read_by_doctor() -> set[str]:
    return set(_texts((ROOT / "app/doctor/options.py").read_text()))


def parameters(environ: dict[str, str]) -> dict[str, Any]:
    """main.parameters.json as azd fills it in."""
    return deployments.parameters(deployments.Deployment(environ))


def documented(heading: str) -> dict[str, str]:
    """The variables in the tables under a heading of docs/operations.md, with their second column."""
    text = OPERATIONS.read_text()
    section = re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    assert section, f"{OPERATIONS} has no section {heading!r}"
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {name: row[1].strip() for row in rows for name in re.findall(r"`([A-Za-z_]+)`", row[0])}


def _texts(source: str) -> list[str]:
    constants = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [text for text in constants if isinstance(text, str) and _NAME.fullmatch(text)]
