"""Synthetic traffic: how a version answers, and what the gateways see of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from loadtest.rollouts.footprint import Footprint
from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.histogram import BUCKET_COUNT, MIN_EXPONENT, PER_OCTAVE, LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import CONFIDENCE, MEAN, ValueHistogram, bin_of

EVEN = (0.1,) * 10


@dataclass(frozen=True)
class Version:
    """How one version answers.

    Attributes:
        error: Probability that a request fails.
        non_finite: Probability that an answer has a NaN.
        median_s: Median latency; latencies are lognormal.
        sigma: Standard deviation of the logarithm of the latency.
        mix: Probabilities of the predicted classes.
        confidence: The two parameters of the beta distribution of the first class's score; None where none is told.
        value: Mean and standard deviation of a numeric output that is normally distributed; None where there is none.
        masked: Probability that an input is answered with a NaN by design. Of two versions the one that does so for
            fewer inputs does it for none that the other answers with numbers.
        wrong: Probability that an input gets another class than a version without this fault gives it. The mix stays
            as it is: only answers to the same request show it.
        footprint: How much memory its processes take.
    """

    error: float = 0.001
    non_finite: float = 0.0
    median_s: float = 0.020
    sigma: float = 0.5
    mix: tuple[float, ...] = EVEN
    confidence: tuple[float, float] | None = None
    value: tuple[float, float] | None = None
    wrong: float = 0.0
    masked: float = 0.0
    footprint: Footprint = field(default_factory=Footprint)


@dataclass(frozen=True)
class Traffic:
    """What the gateways see.

    Attributes:
        per_second: Mean requests per second.
        stable: How stable answers.
        candidate: How the candidate answers.
        outage_share: Share of the seconds in which everything fails, whatever the version.
    """

    per_second: float = 200.0
    stable: Version = field(default_factory=Version)
    candidate: Version = field(default_factory=Version)
    outage_share: float = 0.0


def answered(version: Version, requests: int, chance: np.random.Generator, *, outage: bool = False) -> Tally:
    """Return what a version answered to some requests."""
    failed = requests if outage else int(chance.binomial(requests, version.error))
    good = requests - failed
    latency = _latency(version, good, chance)
    classes = tuple(int(count) for count in chance.multinomial(good, version.mix))
    masked = int(chance.binomial(good, version.masked)) if version.masked else 0
    non_finite = masked + int(chance.binomial(good - masked, version.non_finite))
    values = {}
    if version.confidence is not None:
        values[f"{CONFIDENCE}:scores"] = _histogram(chance.beta(*version.confidence, good).tolist())
    if version.value is not None:
        values[f"{MEAN}:value"] = _histogram(chance.normal(*version.value, good).tolist())
    return Tally(requests, failed, non_finite, latency, {"scores": classes}, values)


def compared(original: Version, copied: Version, copies: int, chance: np.random.Generator) -> Comparison:
    """Return how a version's answers to copies of requests differ from those that the clients got.

    Args:
        original: The version that answered clients, with success.
        copied: The one that got the copies; the same for the noise floor.
        copies: How many.
        chance: Of everything that is left to chance.
    """
    failed = int(chance.binomial(copies, copied.error))
    pairs = copies - failed
    # One input is always answered alike: of a version with itself no pair differs.
    same = original is copied
    shared = min(original.masked, copied.masked)
    both = int(chance.binomial(pairs, shared)) if shared else 0
    beyond = (copied.masked - shared) / (1 - shared)
    odd = 0 if same else int(chance.binomial(pairs - both, copied.non_finite + beyond * (1 - copied.non_finite)))
    differing = odd if same else odd + int(chance.binomial(pairs - odd, copied.wrong))
    return Comparison(
        PairCounts(pairs, differing, 0, pairs, pairs - differing),
        failed,
        original=_latency(original, pairs, chance),
        copy=_latency(copied, pairs, chance),
        outputs={"scores": OutputComparison(pairs, pairs, pairs - differing, odd, 0, odd, both)},
    )


def _latency(version: Version, answers: int, chance: np.random.Generator) -> LatencyHistogram:
    seconds = version.median_s * np.exp(version.sigma * chance.standard_normal(answers))
    indices = np.ceil(np.log2(seconds) * PER_OCTAVE) - MIN_EXPONENT * PER_OCTAVE
    found, sizes = np.unique(np.clip(indices, 0, BUCKET_COUNT - 1).astype(int), return_counts=True)
    counts = {int(index): int(count) for index, count in zip(found, sizes, strict=True)}
    return LatencyHistogram(counts, float(seconds.sum()))


def _histogram(values: list[float]) -> ValueHistogram:
    return ValueHistogram(Counter(map(bin_of, values)), len(values))
