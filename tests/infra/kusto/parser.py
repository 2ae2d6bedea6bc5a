"""Microsoft's KQL parser, @kusto/language-service-next, in the version that package-lock.json pins.

It needs Node.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.kit import npm

PINNED = Path(__file__).parent

type Report = dict[str, dict[str, Any]]


def parse(queries: dict[str, str], tables: dict[str, str] | None = None) -> Report:
    """By name, each query's faults ({code, message, line}) and the columns of its result, as check.js reports them.

    `tables` maps names to columns in KQL's syntax; None means Application Insights' tables.

    Raises OSError or SubprocessError if Node or npm is missing or cannot install the parser.
    """
    command = ["node", str(PINNED / "check.js"), *([] if tables is None else [json.dumps(tables)])]
    given = json.dumps(queries)
    ended = subprocess.run(
        command, cwd=npm.installed(PINNED), input=given, capture_output=True, text=True, check=True, timeout=240
    )
    report: Report = json.loads(ended.stdout)
    return report
