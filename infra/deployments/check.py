"""Compiles, lints and formats the Bicep files, and compares what they deploy with the snapshots beside this file.

    python infra/deployments/check.py [--write]

A finding of any rule in bicepconfig.json fails, and so does a file that is not as the formatter writes it. With
--write, files are formatted, and parameter files and snapshots are replaced: their difference is for the review.
The compiler is $BICEP, `bicep` on PATH, or the one that `az bicep install` puts into the home directory.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from infra.deployments.deployments import DEPLOYMENTS, INFRA, parameter_file, parameters  # noqa: E402

HERE: Final = Path(__file__).parent
MISSING: Final = """\
No Bicep compiler: neither $BICEP, nor bicep on PATH, nor that of the Azure CLI. Get one by `az bicep install`, or
download `bicep` for your system from https://github.com/Azure/bicep/releases, and set BICEP to its path."""
LONGEST: Final = 1000
"""Characters of a text in a snapshot. Of longer ones, policies and the workbook, it has length and hash."""

PLACE: Final = ("--subscription-id", "00000000-0000-0000-0000-000000000001", "--location", "westeurope")


def compiler() -> str | None:
    """The path of the Bicep compiler, None if there is none."""
    by_azure = Path.home() / ".azure/bin/bicep"
    found = os.environ.get("BICEP") or shutil.which("bicep")
    return found or (str(by_azure) if by_azure.exists() else None)


def run(*arguments: str | Path) -> str:
    """The compiler's output; its messages, and exit, if it fails."""
    done = subprocess.run([str(part) for part in arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(done.stderr + done.stdout)
    return done.stdout if "format" in arguments else done.stderr + done.stdout


def snapshot(bicep: str, name: str) -> str:
    """What a deployment would make, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.bicepparam"
        template = os.path.relpath(INFRA / "main.bicep", os.path.realpath(folder))
        file.write_text(parameter_file(parameters(DEPLOYMENTS[name]), template))
        run(bicep, "snapshot", file, "--mode", "overwrite", *PLACE)
        found = json.loads(file.with_suffix(".snapshot.json").read_text())
    return json.dumps(shortened(found), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def shortened(value: Any) -> Any:
    """The same with each text longer than LONGEST replaced."""
    match value:
        case dict():
            return {name: shortened(each) for name, each in value.items()}
        case list():
            return [shortened(each) for each in value]
        case str() if len(value) > LONGEST:
            return f"{len(value)} characters, SHA-256 {hashlib.sha256(value.encode()).hexdigest()}"
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="format the files and replace the snapshots")
    write = parser.parse_args().write
    bicep = compiler()
    if bicep is None:
        print(MISSING, file=sys.stderr)
        return 1
    faults = [
        line.replace(f"{INFRA}{os.sep}", "")
        for line in run(bicep, "lint", INFRA / "main.bicep").splitlines()
        if " : " in line
    ]
    outputs = {HERE / f"{name}.bicepparam": parameter_file(parameters(each)) for name, each in DEPLOYMENTS.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sources = sorted(INFRA.rglob("*.bicep"))
        outputs |= zip(sources, pool.map(lambda file: run(bicep, "format", file, "--stdout"), sources), strict=True)
        if not faults:
            made = pool.map(lambda name: snapshot(bicep, name), DEPLOYMENTS)
            outputs |= {HERE / f"{name}.snapshot.json": text for name, text in zip(DEPLOYMENTS, made, strict=True)}
    for file, text in outputs.items():
        if not file.exists() or file.read_text() != text:
            if write:
                file.write_text(text)
            else:
                faults.append(f"{file.relative_to(INFRA)} differs: see `make infra ARGS=--write`")
    print("\n".join(faults), end="\n" if faults else "")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
