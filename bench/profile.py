"""`make profile`: where the proxy's time goes, as flame graphs of the benchmark's workloads.

    python -m bench.profile [--seconds 5] [--native] [--traced] [WORKLOAD ...]

Writes bench/results/profile-WORKLOAD.svg, and prints the functions that take most time, callees included. py-spy
samples the running threads from outside, 200 times per second.
"""

import argparse
import html
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from bench.__main__ import RESULTS, allow_sockets
from bench.process import NotStarted
from bench.stage import BadRun, Stage, stage
from bench.subjects import Subject, proxy
from bench.tools import Missing
from bench.workloads import JSON_1K, STREAMS_50, WORKLOADS, Workload

_FRAME: Final = re.compile(r"<title>(.+?) \(([\d,]+) samples")
_TOP: Final = 40


def main() -> int:
    options = _options()
    allow_sockets()
    RESULTS.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="profile-") as directory, stage(Path(directory)) as running:
            subject = proxy(running.setup, "proxy", traced=options.traced)
            try:
                for workload in WORKLOADS:
                    if workload.name in (options.workloads or [JSON_1K.name, STREAMS_50.name]):
                        _profile(running, subject, workload, options)
            finally:
                subject.stop()
    except (Missing, NotStarted, BadRun) as fault:
        print(fault, file=sys.stderr)
        return 2
    return 0


def _profile(running: Stage, subject: Subject, workload: Workload, options: argparse.Namespace) -> None:
    """Raises Missing, BadRun."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if program is None:
        raise Missing("Profiling needs py-spy: pip install -r requirements-bench.txt")
    assert subject.process
    running.run(subject, workload, 1.0)  # lazy imports and new connections are not part of a call
    graph = RESULTS / f"profile-{workload.name}.svg"
    command = [program, "record", "--rate", "200", "--function", "--output", str(graph), "--subprocesses"]
    command += [*(["--native"] if options.native else []), "--pid", str(subject.process.pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as spy:
        run = running.run(subject, workload, options.seconds)
        spy.send_signal(signal.SIGINT)  # py-spy then writes the graph
        _, complaints = spy.communicate(timeout=60)
    if not graph.exists():
        raise Missing(f"py-spy made no graph: {complaints}")
    print(f"\n{workload.what}: {run.calls:,} calls, {run.chunks:,} chunks. {graph}")
    for share, name in _dearest(graph.read_text()):
        print(f"{share:6.1%}  {name}")


def _dearest(graph: str) -> list[tuple[float, str]]:
    """Functions by their share of the samples, from the titles of the graph's frames."""
    samples: Counter[str] = Counter()
    for name, count in _FRAME.findall(graph):
        samples[html.unescape(name)] += int(count.replace(",", ""))
    every = samples.pop("all", 0) or 1
    return [(count / every, name) for name, count in samples.most_common(_TOP)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--native", action="store_true", help="C frames too; slower")
    parser.add_argument("--traced", action="store_true", help="sample the trace of every call")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(w.name for w in WORKLOADS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
