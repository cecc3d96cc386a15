"""A worker process that only counts: ``python -m tests.fakes.slab_writer SLAB DURATIONS.npy``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabWriter


def main() -> None:
    """Count each duration, in seconds, as an answered request."""
    series = Recorder(SlabWriter(Path(sys.argv[1]))).requests("rest", "digits", 1, "stable")
    for seconds in np.load(sys.argv[2]).tolist():
        series.finish("ok", seconds)


if __name__ == "__main__":
    main()
