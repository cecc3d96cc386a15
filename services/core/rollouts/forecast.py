"""How much more traffic a verdict needs, and how long each step of a rollout will take before it starts.

A forecast is the verdict on evidence that goes on as it began: every count grows in proportion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from services.core.analysis.assessment import Terms, assess, compared_tallies
from services.core.analysis.verdict import Outcome
from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import ValueHistogram
from services.core.memory.terms import LeakCheck
from services.core.rollouts.custom_metric import CustomMetric, Measurements, check_metric
from services.core.rollouts.evidence import Seen
from services.core.rollouts.rollout import terms_of
from services.core.rollouts.rollout_spec import RolloutSpec

_GROWTH = 1.5
_MOST = 1e5
_BISECTIONS = 5
_DECIDED = (Outcome.PASS, Outcome.FAIL)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When there will be a verdict if everything goes on as it is.

    Attributes:
        outcome: Which verdict.
        requests: How many more requests the candidate must have answered until then.
        seconds: How much longer that takes at the present rate.
        outcomes: How many more outcomes of an A/B test come back until then, of all versions; None for other rollouts.
    """

    outcome: Outcome
    requests: int
    seconds: float
    outcomes: int | None = None

    @property
    def missing(self) -> str:
        """How much more is needed until then, for a person."""
        outcomes = "" if self.outcomes is None else f" and {self.outcomes:,} more outcomes"
        return f"about {self.requests:,} more requests{outcomes}, {duration(self.seconds)}"

    @property
    def text(self) -> str:
        """The same for a person."""
        return f"{self.outcome.value} after {self.missing} at this rate"


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a step of an equal candidate will take.

    Attributes:
        weight_percent: The step's weight.
        requests: Requests that the candidate will have answered by its end; None where the step cannot pass.
        seconds: How long it will last, at least as long as was asked for; None as well.
        too_long: Whether that is longer than a step may last.
    """

    weight_percent: int
    requests: int | None
    seconds: float | None
    too_long: bool

    @property
    def text(self) -> str:
        """The same for a person."""
        if self.requests is None or self.seconds is None:
            return f"{self.weight_percent} %: never passes at this traffic"
        late = ", longer than a step may last" if self.too_long else ""
        return f"{self.weight_percent} %: {duration(self.seconds)}, about {self.requests:,} requests{late}"


def forecast(terms: Terms, seen: Seen, elapsed_s: float) -> Forecast | None:
    """Return when a step's evidence will be enough for a verdict.

    Args:
        terms: On what terms it is judged.
        seen: What both versions have answered so far.
        elapsed_s: In how many seconds.

    Returns:
        The forecast; None where no traffic of this kind will ever be enough, or there is none.
    """
    stable, candidate = compared_tallies(terms, seen)
    if not candidate.requests or not stable.requests or elapsed_s <= 0:
        return None

    watching = _waits_aside(terms, seen)

    def outcome_at(factor: float) -> Outcome:
        return assess(watching, seen_scaled(seen, factor)).outcome

    factor = _first(lambda factor: outcome_at(factor) in _DECIDED, 1.0)
    if factor is None:
        return None
    outcome, seconds = outcome_at(factor), (factor - 1.0) * elapsed_s
    if outcome is Outcome.PASS:
        seconds = max(seconds, *_waits_s(terms, seen))
    more = seconds / elapsed_s
    outcomes = None if terms.experiment is None else sum(totals.count for totals in seen.outcomes.values())
    return Forecast(
        outcome, round(candidate.requests * more), seconds, None if outcomes is None else round(outcomes * more)
    )


def _waits_aside(terms: Terms, seen: Seen) -> Terms:
    """Return the terms without what no traffic hastens: the wait for memory, and metrics that lack measurements."""
    settled = (Outcome.FAIL, Outcome.ERROR)
    metrics = tuple(
        metric for metric in terms.metrics if check_metric(metric, _measured(metric, seen)).outcome in settled
    )
    memory = terms.memory
    if memory.leak_check is LeakCheck.REQUIRE:
        memory = replace(memory, leak_check=LeakCheck.WATCH)
    return replace(terms, metrics=metrics, memory=memory)


def _waits_s(terms: Terms, seen: Seen) -> Iterator[float]:
    """Yield how much longer everything takes that was set aside, seconds; at least one 0."""
    yield 0.0
    if terms.memory.leak_check is LeakCheck.REQUIRE:
        courses = seen.memory, *seen.arms_memory.values()
        yield terms.memory.window_s - min(course.watched_s for course in courses)
    for metric in terms.metrics:
        known = _measured(metric, seen)
        yield metric.interval_s * max(metric.count - known.good, bool(known.problem))


def _measured(metric: CustomMetric, seen: Seen) -> Measurements:
    return seen.measurements.get(metric.name, Measurements())


def plan(spec: RolloutSpec, seen: Tally, elapsed_s: float) -> tuple[StepPlan, ...]:
    """Return how long each step will take if the candidate is as good as stable.

    Args:
        spec: What is asked for.
        seen: What stable answered lately, with all of the traffic.
        elapsed_s: In how many seconds.
    """
    return tuple(_step_plan(spec, index, seen, elapsed_s) for index in range(len(spec.steps)))


def _step_plan(spec: RolloutSpec, index: int, seen: Tally, elapsed_s: float) -> StepPlan:
    # Nobody knows beforehand what will become of the answers: an A/B test is planned up to its least outcomes.
    step, terms = spec.steps[index], replace(_waits_aside(terms_of(spec, index, 0), Seen()), experiment=None)
    weight, mirror = step.weight_percent / 100, step.mirror_percent / 100
    experiment = spec.experiment
    arms = [] if experiment is None else [arm.weight_percent / 100 for arm in experiment.arms]
    rest, asked = 1 - weight - sum(arms), max(step.min_requests, experiment.min_outcomes if experiment else 0)
    floor = mirror * spec.copies.floor_percent / 100
    # Of the requests that one version answers, so many are copied to the other, all of which are answered the same.
    copied = (1 - weight if weight < 1 else 1.0) * (mirror - floor)

    def seen_after(factor: float) -> Seen:
        return Seen(
            scaled(seen, rest * factor),
            scaled(seen, weight * factor),
            _equal_answers(scaled(seen, copied * factor)),
            _equal_answers(scaled(seen, floor * factor)),
        )

    # The least that could pass: so many requests for whoever gets fewer of them.
    share = min(weight, rest, *arms) or copied
    least = asked / (share * seen.requests) if seen.requests else 0.0
    factor = _first(lambda factor: assess(terms, seen_after(factor)).outcome is Outcome.PASS, least) if least else None
    if factor is None:
        return StepPlan(step.weight_percent, None, None, too_long=True)
    # The first step waits until memory was watched for long enough; the later ones go on with its samples.
    watched_s = spec.memory.window_s if not index and spec.memory.leak_check is LeakCheck.REQUIRE else 0.0
    seconds = max(step.duration_s, factor * elapsed_s, watched_s, *(metric.least_s for metric in spec.measured))
    requests = round((weight or copied) * seen.requests * seconds / elapsed_s)
    return StepPlan(step.weight_percent, requests, seconds, seconds > spec.max_step_duration_s)


def _equal_answers(tally: Tally) -> Comparison:
    """Return the comparison of two versions that answer the same, and take as long, on so many requests."""
    pairs = tally.latency.total
    outputs = {"": OutputComparison(pairs, both_non_finite=tally.non_finite)} if tally.non_finite else {}
    return Comparison(PairCounts(pairs=pairs), original=tally.latency, copy=tally.latency, outputs=outputs)


def _first(holds: Callable[[float], bool], least: float) -> float | None:
    """Return about the smallest factor from the least on for which something holds; None where it never does."""
    low, high = least, least
    while not holds(high):
        low, high = high, high * _GROWTH
        if high > least * _MOST:
            return None
    for _ in range(_BISECTIONS if high > low else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def seen_scaled(seen: Seen, factor: float) -> Seen:
    """Return evidence that many times as large."""
    return Seen(
        scaled(seen.stable, factor),
        scaled(seen.candidate, factor),
        _comparison_scaled(seen.comparison, factor),
        _comparison_scaled(seen.floor, factor),
        measurements=seen.measurements,
        memory=seen.memory,
        arms={version: scaled(tally, factor) for version, tally in seen.arms.items()},
        outcomes={version: totals.scaled(factor) for version, totals in seen.outcomes.items()},
        stable_non_finite_before=seen.stable_non_finite_before,
        arms_memory=seen.arms_memory,
    )


def scaled(tally: Tally, factor: float) -> Tally:
    """Return counts that many times as large, to the nearest whole; the shape of the latencies stays."""
    latency = _latency_scaled(tally.latency, factor)
    failed = round(factor * tally.failed)
    return Tally(
        requests=latency.total + failed,
        failed=failed,
        non_finite=round(factor * tally.non_finite),
        unanswered=round(factor * tally.unanswered),
        latency=latency,
        predictions={
            output: tuple(round(factor * count) for count in classes) for output, classes in tally.predictions.items()
        },
        values={what: _values_scaled(values, factor) for what, values in tally.values.items()},
    )


def _comparison_scaled(comparison: Comparison, factor: float) -> Comparison:
    """Return the counts that a verdict looks at, that many times as large."""
    copy, original = (_latency_scaled(one, factor) for one in (comparison.copy, comparison.original))
    counts = PairCounts(pairs=copy.total, differing=round(factor * comparison.differing))
    failed = round(factor * comparison.failed)
    outputs = {
        name: OutputComparison(
            non_finite=round(factor * output.non_finite),
            original_non_finite=round(factor * output.original_non_finite),
            copy_non_finite=round(factor * output.copy_non_finite),
            both_non_finite=round(factor * output.both_non_finite),
        )
        for name, output in comparison.outputs.items()
    }
    return Comparison(counts, failed, original=original, copy=copy, outputs=outputs)


def _latency_scaled(latency: LatencyHistogram, factor: float) -> LatencyHistogram:
    return LatencyHistogram(_counts_scaled(latency.counts, factor), factor * latency.sum_s)


def _values_scaled(values: ValueHistogram, factor: float) -> ValueHistogram:
    counts = {index: count for index, count in _counts_scaled(values.counts, factor).items() if count}
    return ValueHistogram(counts, round(factor * values.squares))


def _counts_scaled(of: Mapping[int, int], factor: float) -> dict[int, int]:
    counts, seen, given = {}, 0, 0
    for index in sorted(of):
        seen += of[index]
        counts[index] = round(factor * seen) - given
        given += counts[index]
    return counts


def duration(seconds: float) -> str:
    """Return a duration for a person."""
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004 - two hours
