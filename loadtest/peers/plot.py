"""Requests per second and p99 of every server as an SVG: the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.peers.forms import JSON
from loadtest.peers.report import Line
from services.core.errors import MissingDependency

_COLOURS = {JSON: "#4c72b0", "binary": "#dd8452"}
_BAR = 0.38


def draw(lines: Sequence[Line], concurrency: int, path: Path) -> None:
    """Draw one concurrency: bars for each server, one colour for each kind of body.

    Raises:
        MissingDependency: Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependency("matplotlib is not installed", "pip install 'penstock[loadtest]'") from error
    peers = list(dict.fromkeys(line.peer for line in lines))
    with mpl.rc_context({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 0.6 + 0.42 * len(peers)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _bars(left, lines, peers, [line.cells[concurrency].requests_per_s.median for line in lines], "{:,.0f}")
        _bars(right, lines, peers, [line.cells[concurrency].p99_us.median / 1e3 for line in lines], "{:,.1f}")
        left.set(title=f"requests/s, {concurrency} connections", yticks=range(len(peers)), yticklabels=peers)
        left.invert_yaxis()
        left.margins(x=0.18)
        right.set(title="p99, ms (logarithmic)", xscale="log")
        right.margins(x=0.18)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        bodies = list(dict.fromkeys(line.body for line in lines))
        left.legend(handles=[_swatch(body) for body in bodies], frameon=False, loc="lower right")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _bars(axes: Any, lines: Sequence[Line], peers: Sequence[str], values: Sequence[float], form: str) -> None:
    for line, value in zip(lines, values, strict=True):
        place = peers.index(line.peer) + (-_BAR / 2 if line.body == JSON else _BAR / 2)
        bar = axes.barh(place, value, _BAR, color=_COLOURS[line.body])
        axes.bar_label(bar, labels=[form.format(value)], padding=2, fontsize=7)


def _swatch(body: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=_COLOURS[body], label=body)
