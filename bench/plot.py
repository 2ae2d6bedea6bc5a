"""The plot: CPU per request and per chunk, and age of tokens on arrival, for each subject."""

from pathlib import Path

from bench.figures import Figure, Figures, Measured
from bench.requirements import CALL, CHUNK, DIRECT, LITELLM, NGINX, PROXY, TRACED
from bench.stage import Measurement
from bench.workloads import JSON_1K, JSON_20K, STREAMS_50, STREAMS_500, STREAMS_1000, STREAMS_FAST, Workload

_COLOURS = {DIRECT: "#bbbbbb", NGINX: "#6a9f58", PROXY: "#3b6ea8", TRACED: "#8fb4dc", LITELLM: "#c8553d"}


def draw(figures: Figures, path: Path) -> None:
    """Write the plot as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (calls, chunks, ages) = pyplot.subplots(1, 3, figsize=(14, 4.5), layout="constrained")
    panels = (
        (calls, "CPU per request, µs", (JSON_1K, JSON_20K), CALL),
        (chunks, "CPU per chunk, µs", (STREAMS_50, STREAMS_FAST, STREAMS_1000), CHUNK),
        (ages, "age of a token on arrival, p99, ms", (STREAMS_50, STREAMS_500, STREAMS_1000), _age_ms),
    )
    for axes, title, workloads, measured in panels:
        subjects = [name for name in _COLOURS if name != DIRECT or axes is ages]
        for place, subject in enumerate(subjects):
            found = [(at, _figure(figures, w, subject, measured)) for at, w in enumerate(workloads)]
            there = [(at, value) for at, value in found if value is not None and value.median > 0]
            axes.bar(
                [at + (place - (len(subjects) - 1) / 2) * 0.18 for at, _ in there],
                [value.median for _, value in there],
                0.17,
                yerr=[
                    [value.median - value.low for _, value in there],
                    [value.high - value.median for _, value in there],
                ],
                label=subject,
                color=_COLOURS[subject],
                error_kw={"elinewidth": 0.8},
            )
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xticks(range(len(workloads)), [workload.name for workload in workloads])
        axes.grid(axis="y", alpha=0.3)
    handles, labels = ages.get_legend_handles_labels()
    shown = [at for at, bars in enumerate(handles) if len(bars)]
    figure.legend([handles[at] for at in shown], [labels[at] for at in shown], loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=110)


def _age_ms(run: Measurement) -> float:
    return run.age_p99 / 1000


def _figure(figures: Figures, workload: Workload, subject: str, measured: Measured) -> Figure | None:
    return figures.of(workload.name, subject, measured) if figures.has(workload.name, subject) else None
