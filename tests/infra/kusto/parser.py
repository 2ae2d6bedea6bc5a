"""Microsoft's parser of KQL, @kusto/language-service-next, in the version that package-lock.json pins.

It needs Node; npm puts it into .cache/kusto once.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

PINNED = Path(__file__).parent
CACHE = PINNED.parents[2] / ".cache/kusto"

type Report = dict[str, dict[str, Any]]


def install() -> None:
    """Have the parser in the cache; raises OSError or SubprocessError where Node or npm is missing or cannot get it."""
    subprocess.run(["node", "--version"], check=True, capture_output=True)
    pins = [(PINNED / name, CACHE / name) for name in ("package.json", "package-lock.json")]
    if all(used.exists() and pin.read_bytes() == used.read_bytes() for pin, used in pins):
        return
    new = CACHE.with_name(f"kusto-{os.getpid()}")
    new.mkdir(parents=True)
    try:
        for pin, _ in pins:
            shutil.copy(pin, new)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run(command, cwd=new, check=True, timeout=240)
        shutil.rmtree(CACHE, ignore_errors=True)
        new.rename(CACHE)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def parse(queries: dict[str, str]) -> Report:
    """By name, each query's faults ({code, message, line}) and the columns of its result, as check.js tells them."""
    command = ["node", str(PINNED / "check.js")]
    given = json.dumps(queries)
    ended = subprocess.run(command, cwd=CACHE, input=given, capture_output=True, text=True, check=True, timeout=240)
    report: Report = json.loads(ended.stdout)
    return report
