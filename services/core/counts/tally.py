"""What was seen of one version in one role: counts that add up across workers and subtract across time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.counts.histogram import LatencyHistogram
from services.core.counts.value_histogram import ValueHistogram

_NO_VALUES = ValueHistogram()


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests that reached a version.

    Attributes:
        requests: Requests that reached the version, good or bad, without the client's own mistakes.
        failed: Of these, the ones that failed through the server's fault.
        non_finite: Answers with a NaN or an infinity in a floating-point output.
        latency: Time from the arrival at the gateway to the answer, seconds, of the requests that did not fail; of one
            that its client gave up, until then: its answer would have taken longer.
        predictions: For outputs with class labels, how often each class came first, by class index.
        values: How confidences and numeric outputs are distributed, by kind and output (``value_histogram``).
        unanswered: Of the requests, the ones that their clients gave up before there was an answer.
    """

    requests: int = 0
    failed: int = 0
    non_finite: int = 0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    predictions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Mapping[str, ValueHistogram] = field(default_factory=dict)
    unanswered: int = 0

    @property
    def answers(self) -> int:
        """Requests that have an answer."""
        return self.requests - self.failed - self.unanswered

    @property
    def bad(self) -> int:
        """Requests that failed or whose answer is not finite."""
        return min(self.requests, self.failed + self.non_finite)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.requests + other.requests,
            self.failed + other.failed,
            self.non_finite + other.non_finite,
            self.latency + other.latency,
            _combine(self.predictions, other.predictions, 1),
            {
                what: self.values.get(what, _NO_VALUES) + other.values.get(what, _NO_VALUES)
                for what in self.values.keys() | other.values.keys()
            },
            self.unanswered + other.unanswered,
        )

    def __sub__(self, earlier: Tally) -> Tally:
        """Return what was added since ``earlier``, an older state of the same counts."""
        return Tally(
            self.requests - earlier.requests,
            self.failed - earlier.failed,
            self.non_finite - earlier.non_finite,
            self.latency - earlier.latency,
            _combine(self.predictions, earlier.predictions, -1),
            {what: values - earlier.values.get(what, _NO_VALUES) for what, values in self.values.items()},
            self.unanswered - earlier.unanswered,
        )


def _combine(
    left: Mapping[str, tuple[int, ...]], right: Mapping[str, tuple[int, ...]], sign: int
) -> dict[str, tuple[int, ...]]:
    combined = dict(left)
    for name, counts in right.items():
        mine = combined.get(name, ())
        size = max(len(mine), len(counts))
        combined[name] = tuple(
            (mine[i] if i < len(mine) else 0) + sign * (counts[i] if i < len(counts) else 0) for i in range(size)
        )
    return combined
