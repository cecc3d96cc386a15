"""The plots of a report, as SVG: the same figures give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from enginebuild.candidates import Candidate
from enginebuild.datatypes import Array
from services.core.records.manifest import LayerEntry

_PASSED, _REFUSED = "#1a7f5a", "#b3261e"
_SHOWN_LAYERS = 20
_LEGIBLE_CLASSES = 20
_BINS = 41


def quality_against_latency(candidates: Sequence[Candidate]) -> str:
    """Plot the first metric with its interval over the latency of a batch, one point per variant."""
    figure, axes = _axes(6.4, 3.6)
    for candidate in candidates:
        if candidate.quality is None or candidate.speed is None:
            continue
        metric, colour = candidate.quality.metrics[0], _REFUSED if candidate.objections else _PASSED
        reach = [[metric.value - metric.low], [metric.high - metric.value]]
        axes.errorbar(candidate.speed.latency_ms, metric.value, yerr=reach, fmt="o", color=colour, capsize=3)
        axes.annotate(
            candidate.name, (candidate.speed.latency_ms, metric.value), xytext=(6, 4), textcoords="offset points"
        )
        axes.set_xlabel(f"ms for a batch of {candidate.speed.batch_size}")
        axes.set_ylabel(f"{metric.name}, {metric.confidence:.0%} interval")
    axes.margins(x=0.2)
    return _svg(figure)


def sensitivity(layers: Sequence[LayerEntry], kept: Sequence[str]) -> str:
    """Plot what quantising each operator alone does, worst first; those kept out of INT8 in another colour."""
    shown = list(reversed(layers[:_SHOWN_LAYERS]))
    figure, axes = _axes(6.4, 1.2 + 0.22 * len(shown))
    colours = [_REFUSED if layer.name in kept else "#5b6b7b" for layer in shown]
    axes.barh([f"{layer.name} ({layer.operator})" for layer in shown], [layer.error for layer in shown], color=colours)
    axes.set_xlabel("error of the outputs with this operator alone in INT8, relative")
    axes.set_xscale("log")
    return _svg(figure)


def confusion(decided: Array, labels: Array, names: Sequence[str]) -> str:
    """Plot how often each class was taken for each."""
    classes = len(names)
    table = np.bincount(labels * classes + decided, minlength=classes * classes).reshape(classes, classes)
    figure, axes = _axes(4.8, 4.4)
    axes.imshow(np.log1p(table), cmap="Greys")
    if classes <= _LEGIBLE_CLASSES:
        for (row, column), count in np.ndenumerate(table):
            if count:
                colour = "white" if np.log1p(count) > np.log1p(table.max()) / 2 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=7)
        axes.set_xticks(range(classes), names, rotation=45)
        axes.set_yticks(range(classes), names)
    axes.set_xlabel("answered")
    axes.set_ylabel("right")
    return _svg(figure)


def residuals(found: Array, wanted: Array) -> str:
    """Plot the distribution of the errors, and of the errors of each step ahead where there are several."""
    figure, axes = _axes(6.4, 3.2)
    error = found.reshape(len(found), -1).astype(np.float64) - wanted.reshape(len(wanted), -1)
    axes.hist(error[np.isfinite(error)], bins=_BINS, color="#5b6b7b")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("answered minus right")
    axes.set_ylabel("elements")
    return _svg(figure)


def _axes(width: float, height: float) -> tuple[Figure, mpl.axes.Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "penstock", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
