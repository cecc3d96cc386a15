"""The verdict on a candidate: compared with stable over the same time, and not fooled by looking often.

The k-th look of a rollout may spend alpha * 6 / (pi^2 k^2) of the false-rollback bound, shared out over its checks and
the two bounds of each (``services.core.bounds``). By the union bound the probability that a candidate within all
tolerances is ever rolled back stays below alpha, whatever the sample sizes and however many looks there are. Looks are
taken at geometrically growing numbers of candidate requests (``services.core.judgement``), so k stays small and the
power stays high.

Fail: harm beyond the tolerance is shown. Pass: enough answers on both sides, no harm shown, stable itself well, and
the estimates within the tolerances. Everything else is inconclusive; no data always is.

The bounds take answers as independent of each other, or as what the router makes of them: a random share of the same
traffic. A burst of errors in Triton falls on both versions in proportion to their weights and shows no difference.
Where a few sticky keys make most of the traffic, the share is less random than the bounds assume.
"""

from __future__ import annotations

from services.core import bounds
from services.core.checks import Sides, contradiction, errors, p99, predictions, sample, stable_health
from services.core.rollout_spec import AnalysisConfig
from services.core.tally import Tally
from services.core.verdict import Verdict, verdict_of

# Looks are due at this number of candidate requests in a step, and then at every LOOK_GROWTH times as many.
FIRST_LOOK = 20
LOOK_GROWTH = 1.3


def assess(config: AnalysisConfig, stable: Tally, candidate: Tally, look: int, min_requests: int) -> Verdict:
    """Compare a candidate with stable.

    A pure function of its arguments: the same evidence gives the same verdict at any later time.

    Args:
        config: Tolerances and the false-rollback bound.
        stable: What stable answered while the candidate had its weight.
        candidate: What the candidate answered in that time.
        look: Number of this look over the whole rollout, counted from 1.
        min_requests: Good answers that each side must have before anything passes.
    """
    contradictory = contradiction(stable, candidate)
    if contradictory is not None:
        return verdict_of(look, (contradictory,))
    outputs = sorted(stable.predictions.keys() | candidate.predictions.keys())
    # Two fixed tests and one for every labelled output; each compares two bounds.
    tests = 2 + len(outputs)
    sides = Sides(stable, candidate, bounds.spent_at(config.false_rollback_bound, look) / (2 * tests))
    return verdict_of(
        look,
        (
            sample(sides, min_requests),
            stable_health(sides, config.max_stable_error),
            errors(sides, config.max_error_increase),
            p99(sides, config.max_p99_ratio, config.p99_floor_s),
            *(predictions(sides, output, config.max_prediction_shift) for output in outputs),
        ),
    )
