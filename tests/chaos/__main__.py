"""`make chaos`: tests what the proxy promises about its records, with real processes that are killed and frozen.

    python -m tests.chaos [--calls 10000] [--seconds 60] [--write docs/reliability.md]
    python -m tests.chaos --outage [--seconds 60] [--write docs/reliability.md]

Exit status 1 if a requirement is not met, 2 where there is no /proc.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos import chaos, outage
from tests.chaos.cores import NeedsLinux, require_proc
from tests.chaos.stage import stage


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=10_000, help="minimum number of calls upstream must see")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration, if the machine is fast enough")
    parser.add_argument("--outage", action="store_true", help="a hub outage of --seconds: memory, backlog, recovery")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the tables into this page")
    arguments = parser.parse_args()
    try:
        require_proc()
    except NeedsLinux as fault:
        print(fault, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory, stage(Path(directory)) as running:
        if arguments.outage:
            report = outage.run(running, arguments.seconds)
        else:
            report = chaos.report(running, chaos.run(running, arguments.calls, arguments.seconds))
    print(report.markdown())
    if arguments.write:
        report.write(arguments.write)
    return 0 if report.met else 1


if __name__ == "__main__":
    sys.exit(main())
