"""The verdict on a candidate: compared with stable over the same time, and not fooled by looking often.

Every bound is a confidence sequence (``services.core.analysis.bounds``): it holds at all times at once. A rollout's
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace

from services.core.analysis.checks.agreement import agreement
from services.core.analysis.checks.counts import contradiction, finite_at_all, sample, stable_health
from services.core.analysis.checks.drift import drift
from services.core.analysis.checks.finite import Odd, finite, odd_answers, odd_live_answers
from services.core.analysis.checks.latency import p99
from services.core.analysis.checks.lift import lifts, winner_of
from services.core.analysis.checks.memory import memory
from services.core.analysis.checks.predictions import predictions
from services.core.analysis.checks.shares import errors, slow
from services.core.analysis.checks.sides import Sides
from services.core.analysis.verdict import Check, Outcome, Verdict, verdict_of
from services.core.counts.tally import Tally
from services.core.memory.terms import LeakCheck, MemoryTerms
from services.core.rollouts.custom_metric import CustomMetric, Measurements, check_metric
from services.core.rollouts.evidence import Seen
from services.core.rollouts.experiment import Experiment, OnWin
from services.core.rollouts.rollout_spec import AnalysisConfig

# Errors, p99, slow answers, mixes of classes, disagreement; and where they are asked for, distributions of scores and
# shares of answers that are not finite.
_TESTS = 5
_BOUNDS = 2
_EVEN = 0.5
_NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms the evidence of a step is judged.

    Attributes:
        config: Tolerances and error bounds.
        weight_percent: Share of the traffic that the candidate was to get.
        min_requests: Good answers that each side must have before anything passes.
        steps: Number of steps that share the rollout's false-rollback bound.
        final: Whether promotion follows a pass.
        mirror_percent: Share of the requests that were copied to the version that did not answer them.
        metrics: What else was asked, and what is good.
        memory: What was asked of memory.
        experiment: What an A/B test asked; None for every other rollout.
        versions: Stable, candidate and further arms of an A/B test; empty for every other rollout.
        floor_percent: Share of the copies that were to go to the version that answered itself; None where there were no
            copies, and in records from before it was said: 0 is then assumed.
    """

    config: AnalysisConfig
    weight_percent: int
    min_requests: int
    steps: int
    final: bool
    mirror_percent: int = 0
    metrics: tuple[CustomMetric, ...] = ()
    memory: MemoryTerms = field(default_factory=MemoryTerms)
    experiment: Experiment | None = None
    versions: tuple[int, ...] = ()
    floor_percent: int | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal: two verdicts with one digest were made on the same terms."""
        said = asdict(self)
        # As in records from before these could be asked for.
        if self.config.max_score_shift is None:
            del said["config"]["max_score_shift"]
        if self.config.max_non_finite_increase is None:
            del said["config"]["max_non_finite_increase"]
        if self.memory.leak_check is LeakCheck.OFF:  # none of it is looked at
            del said["memory"]
        if self.experiment is None:
            del said["experiment"], said["versions"]
        if self.floor_percent is None:
            del said["floor_percent"]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def assess(terms: Terms, seen: Seen) -> Verdict:
    """Compare a candidate with stable.

    A pure function of its arguments: the same evidence gives the same verdict at any later time.

    Args:
        terms: Tolerances, and how sure one must be.
        seen: What both answered while the candidate had its weight.
    """
    if terms.experiment is not None:
        return _assess_experiment(terms, terms.experiment, seen)
    stable, candidate = compared_tallies(terms, seen)
    contradictory = contradiction(stable, candidate)
    if contradictory is not None:
        return verdict_of((contradictory,))
    config = terms.config
    alpha = config.false_rollback_bound / terms.steps / _tests(config) / _BOUNDS
    beta = config.false_promotion_bound / _BOUNDS
    weight = terms.weight_percent / 100 if _is_live(terms) else _EVEN
    sides = Sides(stable, candidate, alpha, beta, weight, terms.final)
    checks = [
        sample(sides, terms.min_requests),
        stable_health(sides, config.max_stable_error),
        _finite(sides, config, odd_answers(terms.weight_percent, seen, mirrored=terms.mirror_percent > 0), seen.stable),
        *_harm(sides, config),
    ]
    if terms.mirror_percent:
        floor_asked = bool(terms.floor_percent)
        checks.append(agreement(sides, seen.comparison, seen.floor, config.max_disagreement, floor_asked=floor_asked))
    checks += _measured(terms, seen)
    if _is_live(terms):
        checks += _mixes(sides, config)
    checks += _memory(terms, seen)
    return verdict_of(tuple(checks))


def _tests(config: AnalysisConfig) -> int:
    return _TESTS + sum(asked is not None for asked in (config.max_score_shift, config.max_non_finite_increase))


def _finite(sides: Sides, config: AnalysisConfig, odd: Odd, stable: Tally) -> Check:
    if config.max_non_finite_increase is None:
        return finite_at_all(sides.candidate.non_finite, stable.non_finite)
    return finite(sides, odd, config.max_non_finite_increase)


def _harm(sides: Sides, config: AnalysisConfig) -> list[Check]:
    checks = [
        errors(sides, config.max_error_increase),
        p99(sides, config.max_p99_ratio, config.p99_floor_s),
    ]
    if config.slow_s is not None:
        checks.append(slow(sides, config.slow_s, config.max_slow_increase))
    return checks


def _mixes(sides: Sides, config: AnalysisConfig) -> list[Check]:
    """Compare what versions with traffic of their own answered, as distributions.

    An output that neither gave is none: a worker remembers one that was asked for once, long before.
    """
    stable, candidate = sides.stable, sides.candidate
    outputs = sorted({output for side in (stable, candidate) for output, of in side.predictions.items() if any(of)})
    one_of_them = replace(sides, alpha=sides.alpha / max(1, len(outputs)))
    with_psi = config.max_score_shift is not None
    checks = [predictions(one_of_them, each, config.max_prediction_shift, with_psi=with_psi) for each in outputs]
    if config.max_score_shift is not None:
        values = sorted({what for side in (stable, candidate) for what, of in side.values.items() if of.rows})
        one_of_them = replace(sides, alpha=sides.alpha / max(1, len(values)))
        checks += [drift(one_of_them, what, config.max_score_shift) for what in values]
    return checks


def _measured(terms: Terms, seen: Seen) -> list[Check]:
    return [check_metric(metric, seen.measurements.get(metric.name, Measurements())) for metric in terms.metrics]


def _assess_experiment(terms: Terms, experiment: Experiment, seen: Seen) -> Verdict:
    """Compare each arm of an A/B test with stable: what became of the answers, and whether there is harm.

    The false-rollback bound is shared out over the arms too. Only a winner that is to be promoted must be shown to do
    no harm; of the others it is enough that none is shown and that the estimates are within the tolerances.
    """
    config, (stable_version, *versions) = terms.config, terms.versions
    verdict = lifts(experiment, tuple(versions), stable_version, seen.outcomes)
    winner = winner_of(verdict_of(tuple(verdict)))
    alpha = config.false_rollback_bound / len(versions) / _tests(config) / _BOUNDS
    beta = config.false_promotion_bound / _BOUNDS
    shares = (terms.weight_percent, *(arm.weight_percent for arm in experiment.arms))
    rest = 100 - sum(shares)
    checks = list(verdict)
    for version, share in zip(versions, shares, strict=True):
        first = version == versions[0]
        tally = seen.candidate if first else seen.arms.get(version, _NOTHING)
        contradictory = contradiction(seen.stable, tally)
        if contradictory is not None:
            return verdict_of((contradictory,))
        final = experiment.on_win is OnWin.PROMOTE and version == winner
        sides = Sides(seen.stable, tally, alpha, beta, share / (share + rest), final)
        of_arm = [
            sample(sides, terms.min_requests),
            _finite(sides, config, odd_live_answers(seen.stable, tally, seen.stable_non_finite_before), seen.stable),
            *_harm(sides, config),
            *_mixes(sides, config),
        ]
        if first:
            checks += [stable_health(sides, config.max_stable_error), *of_arm]
        else:
            checks += [
                replace(one, name=f"{one.name} of {version}", text=f"version {version}: {one.text}") for one in of_arm
            ]
    return verdict_of((*checks, *_measured(terms, seen), *_memory(terms, seen)))


def _memory(terms: Terms, seen: Seen) -> Iterator[Check]:
    """Yield the checks of memory; one that only watches says nothing before its samples do, and holds up no step."""
    if terms.memory.leak_check is LeakCheck.OFF:
        return
    checks = [memory(terms.memory, seen.memory)]
    for version, course in seen.arms_memory.items():
        of_arm = memory(terms.memory, course, f"version {version}")
        checks.append(replace(of_arm, name=f"{of_arm.name} of {version}"))
    for check in checks:
        if check.outcome is not Outcome.INCONCLUSIVE or terms.memory.leak_check is LeakCheck.REQUIRE:
            yield check


def _is_live(terms: Terms) -> bool:
    """Whether both versions have traffic of their own."""
    return 0 < terms.weight_percent < 100  # noqa: PLR2004 - percent


def compared_tallies(terms: Terms, seen: Seen) -> tuple[Tally, Tally]:
    """Return what stands for stable and for the candidate.

    Where only one has traffic, the other answers copies of it, and both are compared on the requests that both had: the
    same requests, so the weight is a half. A copy without an answer counts as failed, also where it is the client's
    answer that the candidate owes. A NaN or an infinity is a bad answer of the candidate's copies where stable gave
    another value to the same request, and of both where the candidate answers the clients.
    """
    if _is_live(terms):
        return seen.stable, seen.candidate
    comparison = seen.comparison
    if terms.weight_percent == 0:
        originals = Tally(comparison.mirrored, latency=comparison.original)
        return originals, Tally(comparison.mirrored, comparison.failed, comparison.odd_copies, comparison.copy)
    copies = Tally(comparison.mirrored, comparison.failed, comparison.not_finite_copies, comparison.copy)
    live = seen.candidate
    return copies, Tally(live.requests, live.failed, live.non_finite, comparison.original)
