"""`make bench`: the proxy with everything on, nginx and the bare upstream, in interleaved rounds.

    python -m bench [--seconds 2] [--rounds 3] [--peers] [--only WORKLOAD ...] [--no-growth] [--again] [--write PAGE]

Writes bench/results/bench.json and bench.png when everything was run. Exit status 1 if a requirement is not met, 2 if
a run was invalid: calls failed, bytes changed, records or spans missing.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench import growth, plot, report
from bench.figures import Figures
from bench.hub import WrongRecords
from bench.process import NotStarted, processors
from bench.requirements import DIRECT, LITELLM, PROXY, TRACED, requirements
from bench.stage import BadRun, Measurement, Stage, stage
from bench.subjects import Subject, litellm, nginx, proxy
from bench.tools import Missing
from bench.workloads import PROMPT_200K, STREAM_LONG, STREAMS_500, STREAMS_1000, WORKLOADS

RESULTS: Final = Path(__file__).parent / "results"
# LiteLLM is saturated far below 500 streams, and one stream of 20,000 chunks would say nothing new about it.
_SKIPPED: Final = {LITELLM: {STREAMS_500, STREAMS_1000, STREAM_LONG, PROMPT_200K}}


def main() -> int:
    options = _options()
    allow_sockets()
    if not options.again:
        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as directory, stage(Path(directory)) as running:
                figures = Figures(_rounds(running, options))
                if options.only:
                    return 0
                growth_found = None if options.no_growth else growth.measured(running, options.seconds, _say)
        except (Missing, NotStarted, BadRun, WrongRecords) as fault:
            print(fault, file=sys.stderr)
            return 2
        about = {"made": time.strftime("%Y-%m-%d"), **_machine(), "seconds": options.seconds}
        result = {**about, "rounds": figures.as_json(), "growth": asdict(growth_found) if growth_found else None}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    return _show(json.loads((RESULTS / "bench.json").read_text()), options.write)


def _show(result: dict[str, Any], page: Path | None) -> int:
    """Print the tables, draw the plot, and return 0 if all requirements are met, else 1."""
    found = report.tables(result)
    print("\n" + "\n\n".join(found.values()))
    figures, growth_found = Figures.from_json(result["rounds"]), result["growth"] and growth.from_json(result["growth"])
    plot.draw(figures, RESULTS / "bench.png")
    if page:
        report.write(page, found)
    return 0 if all(requirement.met for requirement in requirements(figures, growth_found)) else 1


def _rounds(running: Stage, options: argparse.Namespace) -> list[list[Measurement]]:
    """Run every workload on the subjects in turn, so that changes on the machine affect them all."""
    chosen = [workload for workload in WORKLOADS if workload.name in (options.only or [w.name for w in WORKLOADS])]
    starts: list[Callable[[], Subject]] = [
        lambda: Subject(DIRECT, running.setup.upstream),
        lambda: nginx(running.setup),
        lambda: proxy(running.setup, PROXY),
        lambda: proxy(running.setup, TRACED, traced=True),
    ]
    if options.peers:
        starts.append(lambda: litellm(running.setup))
    with contextlib.ExitStack() as started:
        subjects = []
        for start in starts:
            subjects.append(start())
            started.callback(subjects[-1].stop)
        for subject in subjects:  # opens connections, fills caches, makes lazy imports
            for workload in chosen[:1]:
                running.run(subject, workload, options.seconds)
        rounds: list[list[Measurement]] = []
        for turn in range(options.rounds):
            rounds.append([])
            for workload in chosen:
                for subject in subjects[turn % len(subjects) :] + subjects[: turn % len(subjects)]:
                    if workload not in _SKIPPED.get(subject.name, ()):
                        rounds[-1].append(running.run(subject, workload, options.seconds))
                        _say(rounds[-1][-1])
    return rounds


def _say(run: Measurement) -> None:
    cost = f"{run.cpu_chunk:9.1f} µs per chunk" if run.chunks else f"{run.cpu_call:9.1f} µs per request"
    first, age = f"first byte {run.first_byte_p50 / 1000:7.2f} ms", f"age p99 {run.age_p99 / 1000:7.2f} ms"
    print(
        f"{run.workload:18} {run.subject:14} {run.calls:7,} calls {cost:23} {first}  {age}  {run.stolen:4.0%} stolen",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for how long a run starts calls")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="measure LiteLLM too")
    parser.add_argument("--only", action="append", choices=[w.name for w in WORKLOADS], help="print only")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--again", action="store_true", help="show bench.json without measuring")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the tables into this page")
    return parser.parse_args()


def allow_sockets() -> None:
    """Raise the limit on open files: 1,000 streams take 1,000 sockets of the load and 2,000 of a proxy."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _python_build() -> str:
    """How this Python was built, which makes half of the difference between two machines."""
    if "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")):
        return "built with profile-guided optimisation"
    # Debian optimises its interpreter, but not the library whose configuration sysconfig shows
    of_debian = Path(sys.executable).resolve().parent == Path("/usr/bin") and Path("/etc/debian_version").exists()
    return "Debian's" if of_debian else "built without profile-guided optimisation"


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "measured_on": processors()[0],
        "python": f"{platform.python_version()} ({_python_build()})",
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
