"""Requests per second and p99 of every server as an SVG: the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.peers.forms import JSON
from loadtest.peers.report import Line
from loadtest.svg import plotting, save

_COLOURS = {JSON: "#4c72b0", "binary": "#dd8452"}
_BAR = 0.38


def draw(lines: Sequence[Line], concurrency: int, path: Path) -> None:
    """Draw one concurrency: bars for each server, one colour for each kind of body.

    Raises:
        MissingDependency: Matplotlib is not installed.
    """
    peers = list(dict.fromkeys(line.peer for line in lines))
    with plotting() as plt:
        figure, (left, right) = plt.subplots(
            1, 2, sharey=True, figsize=(9, 0.6 + 0.42 * len(peers)), layout="constrained"
        )
        for line in lines:
            cell, place = line.cells[concurrency], peers.index(line.peer)
            _bar(left, place, line.body, cell.requests_per_s.median)
            _point(right, place, line.body, cell.p99_us.median / 1e3)
        left.set(title=f"requests/s, {concurrency} connections", yticks=range(len(peers)), yticklabels=peers)
        left.invert_yaxis()
        left.margins(x=0.18)
        right.set(title="p99, ms (logarithmic)", xscale="log")
        right.margins(x=0.18)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        bodies = list(dict.fromkeys(line.body for line in lines))
        left.legend(handles=[_swatch(body) for body in bodies], frameon=False, loc="lower right")
        save(plt, figure, path)


def _bar(axes: Any, place: int, body: str, value: float) -> None:
    bar = axes.barh(place + _shift(body), value, _BAR, color=_COLOURS[body])
    axes.bar_label(bar, labels=[f"{value:,.0f}"], padding=2, fontsize=7)


def _point(axes: Any, place: int, body: str, value: float) -> None:
    # A bar would have no meaningful beginning on a logarithmic axis.
    axes.plot([value], [place + _shift(body)], "o", color=_COLOURS[body], markersize=5)
    axes.annotate(
        f"{value:,.1f}",
        (value, place + _shift(body)),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )


def _shift(body: str) -> float:
    return -_BAR / 2 if body == JSON else _BAR / 2


def _swatch(body: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=_COLOURS[body], label=body)
