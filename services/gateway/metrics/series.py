"""The families of series that a worker counts: what their keys and their cells mean."""

from __future__ import annotations

from typing import Final

from services.core.histogram import BUCKET_COUNT, PER_OCTAVE, LatencyHistogram, upper_bound_s
from services.gateway.metrics.slab import SeriesKey, Values

# Family names; a key is the family followed by its labels.
REQUEST: Final = "request"  # model, version, protocol, role, outcome: sum in ns, then one cell per latency bucket
STAGE: Final = "stage"  # model, version, protocol, role, stage: sum in ns, then one cell per stage bucket
NON_FINITE: Final = "non_finite"  # model, version, role: answers
PREDICTIONS: Final = "predictions"  # model, version, role, output: one cell per class

LABELS: Final = {
    REQUEST: ("model", "version", "protocol", "role", "outcome"),
    STAGE: ("model", "version", "protocol", "role", "stage"),
    NON_FINITE: ("model", "version", "role"),
    PREDICTIONS: ("model", "version", "role", "output"),
}

# What is counted when a slab has no room for another series; a model cannot have this name in Triton's repository.
OVERFLOW: Final = "(overflow)"

# The stages of one request in their order; each begins where the one before it ends.
STAGES: Final = ("decode", "route", "validate", "admit", "forward", "encode")

# Stages are kept at 2 boundaries to a factor of two: enough to see where time goes, 15 times smaller.
STAGE_PER_OCTAVE: Final = 2
_STRIDE: Final = PER_OCTAVE // STAGE_PER_OCTAVE
STAGE_BUCKET_COUNT: Final = (BUCKET_COUNT - 2) // _STRIDE + 2

REQUEST_CELLS: Final = 1 + BUCKET_COUNT
STAGE_CELLS: Final = 1 + STAGE_BUCKET_COUNT

NS_PER_S: Final = 1_000_000_000


def stage_bucket(index: int) -> int:
    """Return the stage bucket that holds a bucket of ``services.core.histogram``."""
    return (index + _STRIDE - 1) // _STRIDE


def stage_upper_bound_s(bucket: int) -> float:
    """Return the inclusive upper bound of a stage bucket in seconds; infinity for the last."""
    return upper_bound_s(bucket * _STRIDE)


def request_histogram(values: Values) -> LatencyHistogram:
    """Return the latency histogram of one REQUEST series."""
    return LatencyHistogram.from_dense(values[1:].tolist(), int(values[0]) / NS_PER_S)


def is_answer(key: SeriesKey) -> bool:
    """Whether a series counts requests that were answered well."""
    return key[0] == REQUEST and key[-1] == "ok"
