"""What a person asks of a rollout: the steps, and how much worse a candidate may be."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from services.core.errors import InvalidRequest


class Strategy(StrEnum):
    """How a candidate gets its traffic."""

    CANARY = "canary"


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


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the traffic, held until the evidence is enough.

    Attributes:
        weight_percent: Share of the buckets that the candidate owns, 1 to 99.
        duration_s: The shortest time at this weight, seconds.
        min_requests: Answers that stable and candidate must each have given before the step may end.
    """

    weight_percent: int
    duration_s: float = 60.0
    min_requests: int = 200

    def __post_init__(self) -> None:
        _expect(
            1 <= self.weight_percent <= 99,  # noqa: PLR2004 - percent
            f"a step's weight is {self.weight_percent}; expected 1 to 99 percent: at 100 no stable traffic is left to "
            "compare with, and promotion follows the last step by itself",
        )
        _expect_number("a step's duration_s", self.duration_s, 0.0, 30 * 86_400.0)
        _expect(
            1 <= self.min_requests <= 10**9,
            f"a step's min_requests is {self.min_requests}; expected 1 to 10^9: no step passes without evidence",
        )


@dataclass(frozen=True, slots=True)
class AnalysisConfig:
    """How much worse than stable a candidate may be, and how sure a rollback must be.

    Attributes:
        max_error_increase: Allowed increase of the share of bad answers (failed or not finite), absolute, 0 to 1.
        max_stable_error: Share of bad answers of stable above which nothing passes: an outage proves nothing.
        max_p99_ratio: Allowed p99 of the candidate, as a multiple of stable's.
        p99_floor_s: A p99 that is slower by no more than this is never judged, seconds.
        slow_s: Answers that take longer are slow, seconds; None asks nothing of their share.
        max_slow_increase: Allowed increase of the share of slow answers, absolute, 0 to 1.
        max_prediction_shift: Allowed total variation between the mixes of predicted classes, 0 to 1.
        false_rollback_bound: Highest probability of rolling back a candidate that is within all of these, over the
            whole rollout and however often it is looked at.
        false_promotion_bound: Highest probability of promoting by evidence one whose bad answers, p99 or slow answers
            are not within them.
    """

    max_error_increase: float = 0.01
    max_stable_error: float = 0.10
    max_p99_ratio: float = 1.5
    p99_floor_s: float = 0.005
    slow_s: float | None = None
    max_slow_increase: float = 0.01
    max_prediction_shift: float = 0.25
    false_rollback_bound: float = 0.01
    false_promotion_bound: float = 0.05

    def __post_init__(self) -> None:
        _expect_number("max_error_increase", self.max_error_increase, 0.0, 1.0)
        _expect_number("max_stable_error", self.max_stable_error, 0.0, 1.0)
        _expect_number("max_p99_ratio", self.max_p99_ratio, 1.0, 1000.0)
        _expect_number("p99_floor_s", self.p99_floor_s, 0.0, 3600.0)
        if self.slow_s is not None:
            _expect_number("slow_s", self.slow_s, 1e-6, 100.0)
        _expect_number("max_slow_increase", self.max_slow_increase, 0.0, 1.0)
        _expect_number("max_prediction_shift", self.max_prediction_shift, 0.0, 1.0)
        _expect_number("false_rollback_bound", self.false_rollback_bound, 1e-9, 0.2)
        _expect_number("false_promotion_bound", self.false_promotion_bound, 1e-9, 0.5)


DEFAULT_STEPS = (Step(5), Step(25), Step(50))
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
    """

    model: str
    version: int
    strategy: Strategy = Strategy.CANARY
    steps: tuple[Step, ...] = DEFAULT_STEPS
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    max_step_duration_s: float = 3600.0
    on_inconclusive: OnInconclusive = OnInconclusive.ABORT

    def __post_init__(self) -> None:
        _expect(bool(self.model), "a rollout names its model; found an empty name")
        _expect(
            1 <= self.version < 2**63,
            f"the candidate is version {self.version}; expected one of Triton's version numbers, 1 or higher",
        )
        _expect(1 <= len(self.steps) <= MAX_STEPS, f"{len(self.steps)} steps; expected 1 to {MAX_STEPS}")
        weights = [step.weight_percent for step in self.steps]
        _expect(
            all(low < high for low, high in pairwise(weights)),
            f"the steps' weights are {weights}; each must be higher than the one before",
        )
        _expect_number("max_step_duration_s", self.max_step_duration_s, 1.0, 30 * 86_400.0)
        longest = max(step.duration_s for step in self.steps)
        _expect(
            longest <= self.max_step_duration_s,
            f"a step lasts {longest:g} s and max_step_duration_s is {self.max_step_duration_s:g}: it would be rolled "
            "back before it may pass; raise max_step_duration_s",
        )
