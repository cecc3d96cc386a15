"""What a person asks of a rollout: the steps, and how much worse a candidate may be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from services.core.errors import InvalidRequest
from services.core.memory.terms import LeakCheck, MemoryTerms
from services.core.mirror import MAX_SLICE_KEY
from services.core.rollouts.custom_metric import MAX_METRICS, CustomMetric
from services.core.rollouts.experiment import Experiment
from services.core.rollouts.webhook import MAX_WEBHOOKS, Occasion, Webhook

_ALL = 100  # percent


class Strategy(StrEnum):
    """How a candidate gets its traffic."""

    CANARY = "canary"  # step by step
    BLUE_GREEN = "blue-green"  # checked on copies of live requests, then all at once, with a way back
    SHADOW = "shadow"  # never: it gets copies, and stable keeps the traffic
    AB = "ab"  # a fixed share, for as long as the outcomes that come back need


class OnInconclusive(StrEnum):
    """What is done with a step that has no verdict when its longest time is over."""

    ABORT = "abort"  # stable gets all traffic back
    PAUSE = "pause"  # the weight is held until a person decides


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidRequest(message)


def _expect_number(name: str, value: float, low: float, high: float) -> None:
    _expect(
        math.isfinite(value) and low <= value <= high,
        f"{name} is {value}; expected a number from {low:g} to {high:g}",
    )


def _expect_named(what: str, names: list[str], most: int) -> None:
    _expect(len(names) <= most, f"{len(names)} {what}; expected {most} at most")
    _expect(len(set(names)) == len(names), f"{what} {', '.join(names)}; expected a name of its own for each")


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the traffic, held until the evidence is enough.

    Attributes:
        weight_percent: Share of the buckets that the candidate owns, 0 to 100.
        duration_s: The shortest time at this weight, seconds.
        min_requests: Answers that stable and candidate must each have given before the step may end.
        mirror_percent: Share of the requests that are copied to the version that did not answer them, 0 to 100: to the
            candidate, or to stable where the candidate has all traffic. The answers are compared.
    """

    weight_percent: int
    duration_s: float = 60.0
    min_requests: int = 200
    mirror_percent: int = 0

    def __post_init__(self) -> None:
        weight = self.weight_percent
        _expect(0 <= weight <= _ALL, f"a step's weight is {weight}; expected 0 to 100 percent")
        _expect(
            0 <= self.mirror_percent <= _ALL,
            f"a step's mirror_percent is {self.mirror_percent}; expected 0 to 100 percent",
        )
        _expect(
            0 < weight < _ALL or self.mirror_percent > 0,
            f"a step with weight {weight} needs a mirror_percent: one of the versions has no traffic of its own, and "
            "nothing can be compared",
        )
        _expect_number("a step's duration_s", self.duration_s, 0.0, 30 * 86_400.0)
        _expect(
            1 <= self.min_requests <= 10**9,
            f"a step's min_requests is {self.min_requests}; expected 1 to 10^9: no step passes without evidence",
        )


@dataclass(frozen=True, slots=True)
class Copies:
    """How the answers to copied requests are compared.

    Attributes:
        floor_percent: Share of the copies that go to the version that answered itself: how much two answers of one
            version differ is the noise floor, 0 to 90. With 0 any difference counts: for versions that always answer
            the same to the same. More of them bound the noise sooner, and are load for the version that
            answers clients.
        slice_key: Request header or parameter by whose value the comparisons are counted apart; empty for none.
        relative_tolerance: Two elements differ where they are further apart than this share of the larger one and
        absolute_tolerance: this distance together.
        scores: Whether the scores of outputs with class labels count so too; otherwise the first class does alone,
            because a quantised version has other scores everywhere.
    """

    floor_percent: int = 5
    slice_key: str = ""
    relative_tolerance: float = 1e-3
    absolute_tolerance: float = 1e-4
    scores: bool = False

    def __post_init__(self) -> None:
        _expect_number("floor_percent", self.floor_percent, 0, 90)
        long = len(self.slice_key)
        _expect(long <= MAX_SLICE_KEY, f"slice_key has {long} characters; {MAX_SLICE_KEY} at most")
        _expect_number("relative_tolerance", self.relative_tolerance, 0.0, 1.0)
        _expect_number("absolute_tolerance", self.absolute_tolerance, 0.0, 1e30)


@dataclass(frozen=True, slots=True)
class AnalysisConfig:
    """How much worse than stable a candidate may be, and how sure a rollback must be.

    Attributes:
        max_error_increase: Allowed increase of the share of bad answers (failed or not finite), absolute, 0 to 1.
        max_non_finite_increase: Allowed increase of the share of answers that are not finite, absolute, 0 to 1, where
            stable is known to give such answers too; where it is not, one is too many. None asks nothing of the share:
            it counts as bad answers do, and what both gave to one request is not told apart.
        max_stable_error: Share of bad answers of stable above which nothing passes: an outage proves nothing.
        max_p99_ratio: Allowed p99 of the candidate, as a multiple of stable's.
        p99_floor_s: A p99 that is slower by no more than this is never judged, seconds.
        slow_s: Answers that take longer are slow, seconds; None asks nothing of their share.
        max_slow_increase: Allowed increase of the share of slow answers, absolute, 0 to 1.
        max_prediction_shift: Allowed total variation between the mixes of predicted classes, 0 to 1.
        max_score_shift: Allowed distance (Kolmogorov's and Smirnov's) between the distributions of confidences, and of
            the values of numeric outputs without labels, 0 to 1; None asks nothing of them.
        max_disagreement: Allowed share of copied requests to which the versions answer differently, beyond the noise
            floor, 0 to 1.
        false_rollback_bound: Highest probability of rolling back a candidate that is within all of these, over the
            whole rollout and however often it is looked at.
        false_promotion_bound: Highest probability of promoting by evidence one whose bad answers, p99 or slow answers
            or disagreement are not within them.
    """

    max_error_increase: float = 0.01
    max_non_finite_increase: float | None = 0.01
    max_stable_error: float = 0.10
    max_p99_ratio: float = 1.5
    p99_floor_s: float = 0.005
    slow_s: float | None = None
    max_slow_increase: float = 0.01
    max_prediction_shift: float = 0.25
    max_score_shift: float | None = 0.2
    max_disagreement: float = 0.01
    false_rollback_bound: float = 0.01
    false_promotion_bound: float = 0.05

    def __post_init__(self) -> None:
        _expect_number("max_error_increase", self.max_error_increase, 0.0, 1.0)
        if self.max_non_finite_increase is not None:
            _expect_number("max_non_finite_increase", self.max_non_finite_increase, 0.0, 1.0)
        _expect_number("max_stable_error", self.max_stable_error, 0.0, 1.0)
        _expect_number("max_p99_ratio", self.max_p99_ratio, 1.0, 1000.0)
        _expect_number("p99_floor_s", self.p99_floor_s, 0.0, 3600.0)
        if self.slow_s is not None:
            _expect_number("slow_s", self.slow_s, 1e-6, 100.0)
        _expect_number("max_slow_increase", self.max_slow_increase, 0.0, 1.0)
        _expect_number("max_prediction_shift", self.max_prediction_shift, 0.0, 1.0)
        if self.max_score_shift is not None:
            _expect_number("max_score_shift", self.max_score_shift, 0.0, 1.0)
        _expect_number("max_disagreement", self.max_disagreement, 0.0, 1.0)
        _expect_number("false_rollback_bound", self.false_rollback_bound, 1e-9, 0.2)
        _expect_number("false_promotion_bound", self.false_promotion_bound, 1e-9, 0.5)


DEFAULT_STEPS = (Step(5), Step(25), Step(50))
STEPS_OF: dict[Strategy, tuple[Step, ...]] = {
    Strategy.CANARY: DEFAULT_STEPS,
    Strategy.BLUE_GREEN: (Step(0, mirror_percent=100), Step(_ALL, 300.0, mirror_percent=20)),
    Strategy.SHADOW: (Step(0, 300.0, mirror_percent=100),),
    Strategy.AB: (Step(_ALL // 2, 3600.0),),
}
"""The steps of a rollout that names none."""
LONGEST_STEP_S: dict[Strategy, float] = {
    **dict.fromkeys(Strategy, 3600.0),
    Strategy.AB: 14 * 86_400.0,  # outcomes come late, and people behave otherwise at the weekend
}
"""The longest time of a step of a rollout that names none."""
MAX_STEPS = 50


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """One rollout as it was asked for.

    Attributes:
        model: Model name.
        version: The candidate.
        strategy: How the candidate gets its traffic.
        steps: Weights in the order they are taken; each higher than the one before.
        analysis: What harm is, and how sure a rollback must be.
        max_step_duration_s: A step that has not passed by then is inconclusive, seconds: silence never promotes.
        on_inconclusive: What is done with it then.
        copies: How the answers to copied requests are compared, where a step has a mirror.
        metrics: What else is asked, and what is good.
        webhooks: Who is asked for confirmation, or told, and when.
        memory: What is asked of memory.
        experiment: What an A/B test asks; None for every other strategy.
    """

    model: str
    version: int
    strategy: Strategy = Strategy.CANARY
    steps: tuple[Step, ...] = DEFAULT_STEPS
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    max_step_duration_s: float = 3600.0
    on_inconclusive: OnInconclusive = OnInconclusive.ABORT
    copies: Copies = field(default_factory=Copies)
    metrics: tuple[CustomMetric, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    memory: MemoryTerms = field(default_factory=MemoryTerms)
    experiment: Experiment | None = None

    def __post_init__(self) -> None:
        _expect(bool(self.model), "a rollout names its model; found an empty name")
        _expect(
            1 <= self.version < 2**63,
            f"the candidate is version {self.version}; expected one of Triton's version numbers, 1 or higher",
        )
        _expect(1 <= len(self.steps) <= MAX_STEPS, f"{len(self.steps)} steps; expected 1 to {MAX_STEPS}")
        _expect_named("metrics", [metric.name for metric in self.metrics], MAX_METRICS)
        _expect_named("webhooks", [webhook.name for webhook in self.webhooks], MAX_WEBHOOKS)
        both = sorted({metric.name for metric in self.metrics} & {webhook.name for webhook in self.webhooks})
        _expect(not both, f"{', '.join(both)} names a metric and a webhook; expected a name of its own for each")
        self._expect_weights([step.weight_percent for step in self.steps])
        self._expect_experiment()
        _expect_number("max_step_duration_s", self.max_step_duration_s, 1.0, 30 * 86_400.0)
        longest = max(step.duration_s for step in self.steps)
        _expect(
            longest <= self.max_step_duration_s,
            f"a step lasts {longest:g} s and max_step_duration_s is {self.max_step_duration_s:g}: it would be rolled "
            "back before it may pass; raise max_step_duration_s",
        )
        _expect(
            self.memory.leak_check is not LeakCheck.REQUIRE or self.memory.window_s <= self.max_step_duration_s,
            f"memory.window_s is {self.memory.window_s:g} and max_step_duration_s {self.max_step_duration_s:g}: the "
            "first step would be over before its memory was watched for long enough; raise max_step_duration_s",
        )
        for metric in self.measured:
            _expect(
                metric.least_s < self.max_step_duration_s,
                f"'{metric.name}' needs {metric.count} good answers, one every {metric.interval_s:g} s, and "
                f"max_step_duration_s is {self.max_step_duration_s:g}: no step could pass; raise max_step_duration_s",
            )

    @property
    def measured(self) -> tuple[CustomMetric, ...]:
        """What is measured again and again during a step: the metrics, and webhooks that are checks."""
        hooks = (webhook for webhook in self.webhooks if webhook.occasion is Occasion.ROLLOUT)
        return *self.metrics, *(webhook.metric for webhook in hooks)

    def _expect_weights(self, weights: list[int]) -> None:
        if self.strategy is Strategy.CANARY:
            _expect(
                all(0 < weight < _ALL for weight in weights),
                f"the steps' weights are {weights}; expected 1 to 99 percent each: at 100 no stable traffic is left to "
                "compare with, and promotion follows the last step by itself",
            )
            _expect(
                all(low < high for low, high in pairwise(weights)),
                f"the steps' weights are {weights}; each must be higher than the one before",
            )
            return
        if self.strategy is Strategy.AB:
            _expect(
                len(weights) == 1 and 0 < weights[0] < _ALL,
                f"the steps' weights are {weights}; an A/B test has one step, of 1 to 99 percent",
            )
            return
        expected = [step.weight_percent for step in STEPS_OF[self.strategy]]
        _expect(weights == expected, f"the steps' weights are {weights}; {self.strategy.value} has {expected}")

    def _expect_experiment(self) -> None:
        experiment, is_ab = self.experiment, self.strategy is Strategy.AB
        _expect(
            (experiment is not None) == is_ab,
            "an A/B test needs an outcome that is fed back; name one, such as clicked:share"
            if is_ab
            else f"strategy {self.strategy.value} has no outcome and no arms; say strategy ab for an A/B test",
        )
        if experiment is None:
            return
        versions = [self.version, *(arm.version for arm in experiment.arms)]
        _expect(len(set(versions)) == len(versions), f"the arms are versions {versions}; expected each once")
        shares = [self.steps[0].weight_percent, *(arm.weight_percent for arm in experiment.arms)]
        _expect(
            sum(shares) < _ALL,
            f"the arms have {shares} percent of the traffic; expected 99 at most, so that stable keeps a share to be "
            "compared with",
        )
        _expect(not self.steps[0].mirror_percent, "an A/B test has no mirror: its versions answer different requests")

    @property
    def challengers(self) -> tuple[int, ...]:
        """The candidate and the further arms of an A/B test: everything that is compared with stable."""
        arms = () if self.experiment is None else self.experiment.arms
        return self.version, *(arm.version for arm in arms)
