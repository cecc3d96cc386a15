"""The picture of an overload run. The same runs give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from loadtest.overload.arithmetic import quantile
from loadtest.overload.experiment import Run
from loadtest.svg import plotting, save

_COLOURS = ("#0b6e4f", "#c1440e", "#4b5d8a")


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write an SVG with goodput, refusals and latency over time.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    with plotting() as plt:
        figure, (rates, latencies) = plt.subplots(2, 1, sharex=True, figsize=(8, 5.4), layout="constrained")
        begin = runs[0].seconds[0].begin
        times = [one.begin - begin for one in runs[0].seconds]
        rates.step(times, [one.offered for one in runs[0].seconds], where="post", color="#999999", label="offered")
        rates.axhline(runs[0].capacity, color="#999999", linestyle=":", linewidth=1, label="what Triton carries")
        for run, colour in zip(runs, _COLOURS, strict=False):
            good = [max(one.good, 0.5) for one in run.seconds]
            rates.step(times, good, where="post", color=colour, label=f"answered in time, {run.name}")
            p99_ms = [quantile(one.latency_s, 0.99) * 1e3 if one.latency_s else float("nan") for one in run.seconds]
            latencies.step(times, p99_ms, where="post", color=colour, label=f"p99 of answers, {run.name}")
        refusal_ms = [quantile(one.refusal_s, 0.99) * 1e3 if one.refusal_s else float("nan") for one in runs[0].seconds]
        label = f"p99 of refusals, {runs[0].name}"
        latencies.step(times, refusal_ms, where="post", color=_COLOURS[0], linestyle="--", label=label)
        for axes, words in ((rates, "requests/s"), (latencies, "ms")):
            axes.set_yscale("log")
            axes.set_ylabel(words)
            axes.legend(loc="best", fontsize=7, frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        latencies.set_xlabel("seconds")
        save(plt, figure, path)
