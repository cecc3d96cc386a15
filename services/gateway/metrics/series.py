"""The families of series that a worker counts: what their keys and their cells mean."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.core.counts.difference import BUCKET_COUNT as DIFFERENCE_BUCKET_COUNT
from services.core.counts.histogram import BUCKET_COUNT, LatencyHistogram
from services.core.counts.value_histogram import BIN_COUNT, ValueHistogram
from services.core.errors import INTERNAL, STATUS
from services.gateway.metrics.slab import SeriesKey, Values

# Family names; a key is the family followed by its labels.
REQUEST: Final = "request"  # sum in ns, then one cell per latency bucket
STAGE: Final = "stage"  # sum in ns, then one cell per stage bucket; answered requests only
EXCHANGE: Final = "exchange"  # answered requests and the time of their exchanges in ns; the same of exchanges
NON_FINITE: Final = "non_finite"  # answers
PREDICTIONS: Final = "predictions"  # one cell per class
VALUES: Final = "values"  # sum over answers of their rows squared, then one cell per bin of values
REFUSALS: Final = "refusals"  # requests
ATTEMPTS: Final = "attempts"  # requests sent to a replica
RETRIED: Final = "retried"  # answered requests that took more than one attempt
SECOND_ATTEMPTS: Final = "second_attempts"
EJECTIONS: Final = "ejections"
READMISSIONS: Final = "readmissions"
LOOP_LAG: Final = "loop_lag"  # sum in ns, then one cell per stage bucket
TRACED: Final = "traced"  # requests
FEEDBACK: Final = "feedback"  # outcomes

# What became of copies of live requests. The version is the one that answered, mirrored the one that got the copy.
MIRROR: Final = "mirror"  # requests that were chosen for a copy, by what became of it
MIRROR_PAIRS: Final = "mirror_pairs"  # the fields of PairCounts; the slice is empty for all pairs
MIRROR_TIME: Final = "mirror_time"  # sum in ns, then one cell per latency bucket; of pairs
MIRROR_OUTPUT: Final = "mirror_output"  # the counts of OutputComparison
MIRROR_DIFFERENCE: Final = "mirror_difference"  # one cell per bucket of differences

# Values of the moment: they add up over the workers that live, and go with a worker that ends.
IN_FLIGHT: Final = "in_flight"
ADMITTED: Final = "admitted"
QUEUED: Final = "queued"
LIMIT: Final = "limit"
CONNECTIONS: Final = "connections"
BUFFERED: Final = "buffered"
HEALTHY: Final = "healthy"
REPLICA_IN_FLIGHT: Final = "replica_in_flight"
SHARED_MEMORY: Final = "shared_memory"
MIRROR_IN_FLIGHT: Final = "mirror_in_flight"
MIRROR_QUEUED: Final = "mirror_queued"
MIRROR_HELD: Final = "mirror_held"
GAUGES: Final = frozenset(
    {
        IN_FLIGHT,
        ADMITTED,
        QUEUED,
        LIMIT,
        CONNECTIONS,
        BUFFERED,
        HEALTHY,
        REPLICA_IN_FLIGHT,
        SHARED_MEMORY,
        MIRROR_IN_FLIGHT,
        MIRROR_QUEUED,
        MIRROR_HELD,
    }
)

_KIND: Final = ("model", "version", "protocol", "role")
_COPY: Final = ("model", "version", "mirrored")
LABELS: Final[dict[str, tuple[str, ...]]] = {
    REQUEST: (*_KIND, "outcome"),
    STAGE: (*_KIND, "stage"),
    EXCHANGE: _KIND,
    NON_FINITE: ("model", "version", "role"),
    PREDICTIONS: ("model", "version", "role", "output"),
    VALUES: ("model", "version", "role", "what"),
    REFUSALS: ("model", "version", "reason"),
    ATTEMPTS: ("replica", "model", "version", "outcome"),
    RETRIED: ("model", "version"),
    SECOND_ATTEMPTS: ("replica", "model", "version", "kind"),
    EJECTIONS: ("replica", "model", "version", "reason"),
    READMISSIONS: ("replica", "model", "version"),
    LOOP_LAG: (),
    TRACED: ("result",),
    FEEDBACK: ("model", "result"),
    MIRROR: (*_COPY, "outcome"),
    MIRROR_PAIRS: (*_COPY, "slice"),
    MIRROR_TIME: (*_COPY, "side"),
    MIRROR_OUTPUT: (*_COPY, "output"),
    MIRROR_DIFFERENCE: (*_COPY, "output", "measure"),
    IN_FLIGHT: _KIND,
    ADMITTED: ("model", "version"),
    QUEUED: ("model", "version"),
    LIMIT: ("model", "version"),
    CONNECTIONS: ("protocol",),
    BUFFERED: (),
    HEALTHY: ("replica",),
    REPLICA_IN_FLIGHT: ("replica",),
    SHARED_MEMORY: (),
    MIRROR_IN_FLIGHT: ("model", "version"),
    MIRROR_QUEUED: ("model", "version"),
    MIRROR_HELD: (),
}

# What is counted when a slab has no room for another series; a model cannot have this name in Triton's repository.
OVERFLOW: Final = "(overflow)"

# The outcome of failures that have no room for a series of their own outcome.
FAILED: Final = "failed"
# Outcomes that count against the version that was asked.
FAILURES: Final = frozenset({row.outcome for row in STATUS.values() if row.server_fault} | {INTERNAL.outcome, FAILED})

# The stages of one answered request in their order; each begins where the one before it ends.
# edge: parsing, choosing the version, validating. forward: everything between the admission and Triton's answer.
STAGES: Final = ("edge", "admission", "forward", "answer")

# Stages are kept at one boundary to a factor of two: the bucket of a duration is the bit length of its nanoseconds,
# which needs no logarithm. 64 buckets hold every duration that 64 bits hold.
STAGE_BUCKET_COUNT: Final = 65

REQUEST_CELLS: Final = 1 + BUCKET_COUNT
STAGE_CELLS: Final = 1 + STAGE_BUCKET_COUNT
# A merged request's exchange is every member's time, and one exchange.
EXCHANGE_CELLS: Final = 4

# The fields of PairCounts and the first ones of OutputComparison, in their order.
PAIR_COUNTS: Final = ("pairs", "differing", "mismatched", "ranked", "agree")
OUTPUT_COUNTS: Final = (
    "pairs",
    "ranked",
    "agree",
    "non_finite",
    "original_non_finite",
    "copy_non_finite",
    "both_non_finite",
)
MEASURES: Final = ("absolute", "relative", "cosine", "divergence")
DIFFERENCE_CELLS: Final = DIFFERENCE_BUCKET_COUNT
VALUE_CELLS: Final = 1 + BIN_COUNT
# Sides of a pair.
ORIGINAL: Final = "original"
COPY: Final = "copy"

NS_PER_S: Final = 1_000_000_000


def overflow_key(family: str) -> SeriesKey:
    """Return the key of a family's overflow series; that of its one series where it has no labels."""
    return (family, OVERFLOW, *("" for _ in LABELS[family][1:])) if LABELS[family] else (family,)


def stage_upper_bound_s(bucket: int) -> float:
    """Return the upper bound of a stage bucket in seconds; what is shorter by a nanosecond or more is in it."""
    return float(2**bucket) / NS_PER_S


def request_histogram(values: Values) -> LatencyHistogram:
    """Return the latency histogram of one REQUEST or MIRROR_TIME series."""
    counts = values[1:]
    filled = np.flatnonzero(counts)
    return LatencyHistogram(dict(zip(filled.tolist(), counts[filled].tolist(), strict=True)), int(values[0]) / NS_PER_S)


def value_histogram(values: Values) -> ValueHistogram:
    """Return the histogram of one VALUES series."""
    counts = values[1:]
    filled = np.flatnonzero(counts)
    return ValueHistogram(dict(zip(filled.tolist(), counts[filled].tolist(), strict=True)), int(values[0]))


def is_answer(key: SeriesKey) -> bool:
    """Whether a series counts requests that were answered well."""
    return key[0] == REQUEST and key[-1] == "ok"
