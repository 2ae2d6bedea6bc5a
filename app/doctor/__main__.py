"""The doctor's command line."""

import sys
from collections.abc import Sequence

from app.doctor.checks import Doctor
from app.doctor.options import Options
from app.doctor.report import Report


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the checks; 0 if none failed."""
    options = Options.parse(arguments)
    report = Report(options.key, options.conn_str or "")
    try:
        Doctor(options, report).run()
    except ImportError as fault:
        print(f"The doctor needs a package that is not installed ({fault.name}): pip install openai", file=sys.stderr)
        return 1
    count = "1 check" if report.failed == 1 else f"{report.failed} checks"
    print(f"\n{count} failed." if report.failed else "\nEverything works.")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
