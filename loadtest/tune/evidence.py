"""What a tuning leaves behind: the configuration, the recipe's lines for it, every number, and the curve."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from loadtest.svg import plotting, save
from loadtest.tune.configuration import Configuration
from loadtest.tune.journal import Trial, finite
from loadtest.tune.live_triton import CONFIG, as_pbtxt
from loadtest.tune.target import Slo
from loadtest.tune.tuning import Curve, Outcome

_COLOURS = ("#0b6e4f", "#c1440e")


def serving_yaml(best: Configuration) -> str:
    """Return the lines that a recipe's ``serving`` needs for a configuration."""
    lines = {
        "max_batch_size": best.max_batch,
        "max_queue_delay_microseconds": best.delay_us,
        "preferred_batch_sizes": best.preferred_sizes,
        "instances": best.instances,
    }
    return yaml.safe_dump({"serving": lines}, sort_keys=False)


def write(folder: Path, outcome: Outcome, config: Mapping[str, Any], slo: Slo, document: Mapping[str, Any]) -> None:
    """Write ``evidence.json``, and where a configuration keeps the SLO config.pbtxt, ``serving.yaml`` and the plot.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    (folder / "evidence.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    best = outcome.found.best
    if best is None:
        return
    (folder / CONFIG).write_text(as_pbtxt(best.over(config)), encoding="utf-8")
    (folder / "serving.yaml").write_text(serving_yaml(best), encoding="utf-8")
    draw(outcome.curves, slo, folder / "goodput.svg")


def document_of(outcome: Outcome, trials: list[Trial], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that was asked and found as JSON has it; what is infinite is null."""
    confirmed = outcome.confirmed
    return {
        **asked,
        "best": asdict(outcome.found.best) if outcome.found.best else None,
        "goodput_per_s": round(confirmed.rate, 1) if confirmed is not None and confirmed.met else None,
        "confirmed": finite(asdict(confirmed)) if confirmed is not None else None,
        "trials": [trial.as_json() for trial in trials],
        "out_of_trials": outcome.found.exhausted,
        "curves": [finite(asdict(curve)) for curve in outcome.curves],
    }


def draw(curves: tuple[Curve, ...], slo: Slo, path: Path) -> None:
    """Write an SVG of the SLO's quantile over the offered rate. The same curves give the same bytes.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    with plotting() as plt:
        figure, (rates, latencies) = plt.subplots(2, 1, sharex=True, figsize=(8, 5.4), layout="constrained")
        for curve, colour in zip(curves, _COLOURS, strict=False):
            offered = [window.rate for window in curve.windows]
            kept = [window.rate * _good_share(window.offered, window.slow) for window in curve.windows]
            quantiles = [_plotted_ms(window.quantile_s) for window in curve.windows]
            rates.plot(offered, kept, color=colour, marker="o", markersize=3, label=curve.name)
            latencies.plot(offered, quantiles, color=colour, marker="o", markersize=3)
        latencies.axhline(slo.bound_s * 1e3, color="#999999", linestyle=":", linewidth=1, label=slo.text)
        rates.set_ylabel("answered in time, requests/s")
        latencies.set_ylabel(f"p{slo.quantile * 100:g}, ms")
        latencies.set_yscale("log")
        latencies.set_xlabel("offered, requests/s")
        for axes in (rates, latencies):
            axes.legend(loc="best", fontsize=7, frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
        save(plt, figure, path)


def _good_share(offered: int, slow: int) -> float:
    return (offered - slow) / offered if offered else 0.0


def _plotted_ms(seconds: float) -> float:
    return seconds * 1e3 if math.isfinite(seconds) else math.nan
