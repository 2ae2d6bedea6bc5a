"""The chart libraries are npm's, byte for byte."""

from pathlib import Path

import pytest

from tests.analytics.kit import ROOT
from tests.kit import npm

VENDOR = ROOT / "analytics" / "dashboard" / "assets" / "vendor"
IMPORT = "import { ascending, isString, DisallowedObjectProperties } from 'vega-util';\n"
CONSTANT = "const { ascending, isString, DisallowedObjectProperties } = vega;\n"
SOURCE_MAP = "//# sourceMappingURL=vega-interpreter.js.map\n"


@pytest.fixture(scope="module")
def packages() -> Path:
    with npm.needed_for("Vega"):
        return npm.installed(Path(__file__).parent) / "node_modules"


@pytest.mark.heavy
def test_vendored_files_are_npms(packages: Path) -> None:
    """Only the interpreter's import and its source map reference differ; the licences are included."""
    for name in ("vega", "vega-lite"):
        assert (VENDOR / f"{name}.min.js").read_bytes() == (packages / name / "build" / f"{name}.min.js").read_bytes()
        assert (VENDOR / f"LICENSE.{name}").read_bytes() == (packages / name / "LICENSE").read_bytes()
    published = (packages / "vega-interpreter" / "build" / "vega-interpreter.js").read_text().rstrip("\n") + "\n"
    ours = (VENDOR / "vega-interpreter.js").read_text()
    assert ours.replace(CONSTANT, IMPORT) + SOURCE_MAP == published
