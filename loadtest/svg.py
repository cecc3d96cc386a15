"""Plots as SVG files: the same data give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.core.errors import MissingDependency


@contextmanager
def plotting() -> Iterator[Any]:
    """Yield ``matplotlib.pyplot``, set up for small SVG files whose text stays text.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ModuleNotFoundError as error:
        raise MissingDependency("matplotlib is not installed", "pip install 'penstock[loadtest]'") from error
    mpl.use("svg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "penstock", "svg.fonttype": "none", "font.size": 9.0}):
        yield plt


def save(plt: Any, figure: Any, path: Path) -> None:
    """Write a figure and let it go."""
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
