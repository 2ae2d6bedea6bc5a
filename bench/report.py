"""The report: the figures as tables, for the terminal and for docs/performance.md."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.capacity import CALLS_PER_INSTANCE, CORE_SHARE, RATES, call_cost_ms, capacity
from bench.figures import Figures
from bench.growth import Growth, from_json
from bench.requirements import CALL, CHUNK, DIRECT, LITELLM, NGINX, PROXY, TRACED, Requirement, requirements
from bench.workloads import STREAMS_50, STREAMS_500, STREAMS_1000, WORKLOADS, Workload

_SUBJECTS = (DIRECT, NGINX, PROXY, TRACED, LITELLM)


def tables(result: dict[str, Any]) -> dict[str, str]:
    """Return the contents of bench.json as Markdown tables, by name."""
    figures = Figures.from_json(result["rounds"])
    growth = from_json(result["growth"]) if result["growth"] else None
    found = {
        "machine": _machine(result, figures),
        "requirements": _requirements(figures, growth),
        "costs": _costs(figures),
        "delays": _delays(figures),
    }
    found["capacity"] = _capacity(figures)
    if growth:
        found["growth"] = _growth(growth)
    return found


def write(page: Path, found: dict[str, str]) -> None:
    """Replace each table between its markers in a page. Raises ValueError if they are missing."""
    text = page.read_text()
    for name, markdown in found.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        between = re.compile(re.escape(begin) + ".*" + re.escape(end), re.S)
        if not (place := between.search(text)):
            raise ValueError(f"{page} has no markers for {name}")
        text = f"{text[: place.start()]}{begin}\n{markdown}\n{end}{text[place.end() :]}"
    page.write_text(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, readable as plain text."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, rows)])


def _machine(result: dict[str, Any], figures: Figures) -> str:
    return (
        f"Made on {result['made']}, on one core of {result['processors']} ({result['processor']}), "
        f"Python {result['python']}; "
        f"{len(result['rounds'])} rounds of {result['seconds']:g} s. "
        f"Of the processors' time {figures.stolen().text(1)} % was stolen by other virtual machines."
    )


def _requirements(figures: Figures, growth: Growth | None) -> str:
    rows = [
        (
            requirement.what,
            f"{requirement.found.text(requirement.digits)} {requirement.unit}",
            requirement.bound(requirement.limit),
            requirement.bound(requirement.target),
            _verdict(requirement),
        )
        for requirement in requirements(figures, growth)
    ]
    return table(("figure", "measured: median (min to max)", "limit", "target", "met"), rows)


def _verdict(requirement: Requirement) -> str:
    if not requirement.met:
        return "**no**"
    if requirement.on_target:
        return "on target"
    return "yes" if requirement.limit else "off target"


def _costs(figures: Figures) -> str:
    """CPU by workload and subject, per request or per chunk of a stream, with the ratio to nginx."""

    def cell(workload: Workload, subject: str) -> str:
        if not figures.has(workload.name, subject):
            return ""
        cost = CHUNK if workload.stream else CALL
        found = figures.of(workload.name, subject, cost).text(1)
        if subject == NGINX:
            return found
        return f"{found}, {figures.ratio(workload.name, subject, NGINX, cost).median:.1f} x"

    subjects = [name for name in _SUBJECTS[1:] if any(figures.has(w.name, name) for w in WORKLOADS)]
    rows = [
        [workload.what, "per chunk" if workload.stream else "per request", *(cell(workload, name) for name in subjects)]
        for workload in WORKLOADS
    ]
    return table(["workload", "µs of CPU", *subjects], rows)


def _delays(figures: Figures) -> str:
    """First byte, age of chunks, memory and delivered records, by subject."""

    def row(subject: str) -> list[str]:
        first = " / ".join(_ms(figures, STREAMS_50, subject, f"first_byte_{share}") for share in ("p50", "p99"))
        ages = [_ms(figures, workload, subject, "age_p99") for workload in (STREAMS_500, STREAMS_1000)]
        memory = "" if subject == DIRECT else _number(figures, STREAMS_1000, subject, lambda run: run.memory_mb)
        calls, records = figures.records(subject)
        delivered = f"{records:,} of {calls:,}" if subject in (PROXY, TRACED) else ""
        return [subject, first, *ages, memory, delivered]

    head = ("", "first byte p50 / p99, ms", "age p99 at 500, ms", "at 1,000, ms", "MB at 1,000", "records delivered")
    return table(head, [row(name) for name in _SUBJECTS if figures.has(STREAMS_50.name, name)])


def _capacity(figures: Figures) -> str:
    rows = [
        (
            f"{needed.rate:,}",
            f"{needed.open_streams:,}",
            f"{needed.cores:.1f}",
            f"{needed.instances_by_cpu:,}",
            f"{needed.instances_by_calls:,}",
            f"{needed.throughput_units:,}",
            f"{needed.gateway_units:,}",
        )
        for needed in (capacity(figures, rate) for rate in RATES)
    ]
    instances = f"instances at {CORE_SHARE:.0%} of a core", f"instances at {CALLS_PER_INSTANCE} open calls"
    head = ("calls per second", "open streams", "cores", *instances, "throughput units", "x 2,048 gateway connections")
    cost = f"One such call takes {call_cost_ms(figures):.1f} ms of CPU."
    return f"{table(head, rows)}\n\n{cost}"


def _growth(growth: Growth) -> str:
    rows = [
        *((f"µs per chunk, one stream of {n:,}", f"{cost:.1f}") for n, cost in growth.chunk_by_length.items()),
        *((f"µs per request, {n:,} connections", f"{cost:.0f}") for n, cost in growth.call_by_connections.items()),
        *((f"µs per request, --workers {n}", f"{cost:.0f}") for n, cost in growth.call_by_workers.items()),
        *((f"requests per second, --workers {n}", f"{rate:,.0f}") for n, rate in growth.rate_by_workers.items()),
        ("KB per stream, 1,000 open", f"{growth.stream_memory_kb:.0f}"),
    ]
    return table(("figure", "measured"), rows)


def _ms(figures: Figures, workload: Workload, subject: str, name: str) -> str:
    return _number(figures, workload, subject, lambda run: getattr(run, name) / 1000, 2)


def _number(figures: Figures, workload: Workload, subject: str, measured: Callable[..., float], digits: int = 0) -> str:
    if not figures.has(workload.name, subject):
        return ""
    return f"{figures.of(workload.name, subject, measured).median:.{digits}f}"
