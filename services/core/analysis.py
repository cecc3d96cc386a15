"""The verdict on a candidate: compared with stable over the same time, and not fooled by looking often.

Every bound is a confidence sequence (``services.core.bounds``): it holds at all times at once. A rollout's
false-rollback bound is shared out over its steps, the tests of each and the two bounds of each test, so by the union
bound the probability that a candidate within all tolerances is ever rolled back stays below it, whatever the sample
sizes and however often the evidence is looked at. The false-promotion bound is not shared out over tests: all must
pass, so the one that the candidate misses decides.

Fail: harm beyond the tolerance is shown. Pass: enough answers on both sides, no harm shown, stable itself well, the
estimates within the tolerances, and before promotion proof that they are. Everything else is inconclusive; no data
always is.

What is assumed of answers: that the router deals them out to the versions by chance. Their rates may change with time.
Where a few sticky keys make most of the traffic, the share is less random than the bounds assume.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from services.core.checks.counts import contradiction, finite, sample, stable_health
from services.core.checks.latency import p99
from services.core.checks.predictions import predictions
from services.core.checks.shares import errors, slow
from services.core.checks.sides import Sides
from services.core.rollout_spec import AnalysisConfig
from services.core.tally import Tally
from services.core.verdict import Verdict, verdict_of

# Errors, p99, slow answers, mixes of classes.
_TESTS = 4
_BOUNDS = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms the evidence of a step is judged.

    Attributes:
        config: Tolerances and error bounds.
        weight_percent: Share of the traffic that the candidate was to get.
        min_requests: Good answers that each side must have before anything passes.
        steps: Number of steps that share the rollout's false-rollback bound.
        final: Whether promotion follows a pass.
    """

    config: AnalysisConfig
    weight_percent: int
    min_requests: int
    steps: int
    final: bool

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal: two verdicts with one digest were made on the same terms."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def assess(terms: Terms, stable: Tally, candidate: Tally) -> Verdict:
    """Compare a candidate with stable.

    A pure function of its arguments: the same evidence gives the same verdict at any later time.

    Args:
        terms: Tolerances, and how sure one must be.
        stable: What stable answered while the candidate had its weight.
        candidate: What the candidate answered in that time.
    """
    contradictory = contradiction(stable, candidate)
    if contradictory is not None:
        return verdict_of((contradictory,))
    config = terms.config
    alpha = config.false_rollback_bound / terms.steps / _TESTS / _BOUNDS
    beta = config.false_promotion_bound / _BOUNDS
    weight = terms.weight_percent / 100
    sides = Sides(stable, candidate, alpha, beta, weight, terms.final)
    outputs = sorted(stable.predictions.keys() | candidate.predictions.keys())
    one_of_them = Sides(stable, candidate, alpha / max(1, len(outputs)), beta, weight, terms.final)
    checks = [
        sample(sides, terms.min_requests),
        stable_health(sides, config.max_stable_error),
        finite(sides),
        errors(sides, config.max_error_increase),
        p99(sides, config.max_p99_ratio, config.p99_floor_s),
    ]
    if config.slow_s is not None:
        checks.append(slow(sides, config.slow_s, config.max_slow_increase))
    checks += [predictions(one_of_them, output, config.max_prediction_shift) for output in outputs]
    return verdict_of(tuple(checks))
