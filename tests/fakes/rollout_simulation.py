"""Whole rollouts on synthetic traffic, looked at every second, to measure how often the analysis is wrong.

python -m tests.fakes.rollout_simulation --rollouts 2000
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from services.core.event import Event, EventKind
from services.core.evidence import Evidence
from services.core.histogram import BUCKET_COUNT, MIN_EXPONENT, PER_OCTAVE, LatencyHistogram
from services.core.judgement import judge
from services.core.rollout import Phase, Rollout, new_rollout
from services.core.rollout_spec import AnalysisConfig, RolloutSpec, Step
from services.core.tally import Tally
from services.core.transitions import advance

EVEN = (0.1,) * 10
# The harshest configuration for identical versions: no tolerance at all, and a bound of 10 %.
NO_TOLERANCE = AnalysisConfig(
    max_error_increase=0.0,
    max_p99_ratio=1.0,
    p99_floor_s=0.0,
    max_prediction_shift=0.0,
    false_rollback_bound=0.1,
)


@dataclass(frozen=True)
class Version:
    """How one version answers.

    Attributes:
        error: Probability that a request fails.
        median_s: Median latency; latencies are lognormal.
        sigma: Standard deviation of the logarithm of the latency.
        mix: Probabilities of the predicted classes.
    """

    error: float = 0.001
    median_s: float = 0.020
    sigma: float = 0.5
    mix: tuple[float, ...] = EVEN


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
    seconds = version.median_s * np.exp(version.sigma * chance.standard_normal(good))
    indices = np.clip(np.ceil(np.log2(seconds) * PER_OCTAVE) - MIN_EXPONENT * PER_OCTAVE, 0, BUCKET_COUNT - 1).astype(
        int
    )
    counts = {int(index): int(count) for index, count in zip(*np.unique(indices, return_counts=True), strict=True)}
    classes = tuple(int(count) for count in chance.multinomial(good, version.mix))
    return Tally(requests, failed, 0, LatencyHistogram(counts, float(seconds.sum())), {"scores": classes})


def simulate(spec: RolloutSpec, traffic: Traffic, seed: int, longest_s: int = 1800) -> tuple[Rollout, int]:
    """Run one rollout, looked at every second, until its fate is decided.

    Returns:
        The rollout, and the number of requests that the candidate answered in all.
    """
    chance = np.random.default_rng(seed)
    rollout, _ = advance(new_rollout(spec, 1, 0.0), Event(EventKind.LOADED), 0.0)
    harmed = 0
    for now in range(1, longest_s + 1):
        requests = int(chance.poisson(traffic.per_second))
        mine = int(chance.binomial(requests, rollout.weight_percent / 100))
        outage = bool(chance.random() < traffic.outage_share)
        seen = rollout.evidence
        rollout = replace(
            rollout,
            evidence=Evidence(
                seen.stable + answered(traffic.stable, requests - mine, chance, outage=outage),
                seen.candidate + answered(traffic.candidate, mine, chance, outage=outage),
            ),
        )
        harmed += mine
        event = judge(rollout, float(now))
        if event is not None:
            rollout, _ = advance(rollout, event, float(now))
        if rollout.phase is not Phase.PROGRESSING:
            break
    return rollout, harmed


CONSTANT = (1.0, *(0.0,) * 9)
SKEWED = (0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02)
SPEC = RolloutSpec("m", 2, steps=(Step(5, 30, 200), Step(25, 30, 200), Step(50, 30, 200)))
SCENARIOS: dict[str, tuple[RolloutSpec, Traffic]] = {
    "identical versions": (SPEC, Traffic()),
    "identical versions, no tolerance, bound 10 %": (replace(SPEC, analysis=NO_TOLERANCE), Traffic()),
    "identical versions, a tenth of the seconds everything fails": (SPEC, Traffic(outage_share=0.1)),
    "identical versions, everything always fails": (SPEC, Traffic(outage_share=1.0)),
    "candidate predicts one class": (SPEC, Traffic(candidate=Version(mix=CONSTANT))),
    "candidate predicts at random, classes are not even": (SPEC, Traffic(stable=Version(mix=SKEWED))),
    "candidate predicts at random, classes are even": (SPEC, Traffic()),
    "candidate fails 5 %": (SPEC, Traffic(candidate=Version(error=0.05))),
    "candidate takes twice as long": (SPEC, Traffic(candidate=Version(median_s=0.040))),
}


def main() -> None:
    """Print how each scenario ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=200)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS))
    chosen = parser.parse_args()
    for name, (spec, traffic) in SCENARIOS.items():
        if chosen.scenario not in {None, name}:
            continue
        runs = [simulate(spec, traffic, seed) for seed in range(chosen.rollouts)]
        phases = Counter(rollout.phase.value for rollout, _ in runs)
        harmed = sorted(harmed for _, harmed in runs)
        weights = Counter(rollout.current_step.weight_percent for rollout, _ in runs)
        at_most = harmed[math.ceil(0.95 * len(harmed)) - 1]
        print(f"{name}: {dict(phases)}; last weight {dict(weights)}; candidate requests, 95th percentile: {at_most}")


if __name__ == "__main__":
    main()
