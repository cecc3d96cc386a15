"""What REST takes in. ``penstock rollout start --file`` reads the same fields from YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.core.rollout_spec import (
    DEFAULT_STEPS,
    MAX_STEPS,
    AnalysisConfig,
    OnInconclusive,
    RolloutSpec,
    Step,
    Strategy,
)

_DEFAULTS = AnalysisConfig()
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepModel(_Strict):
    """A share of the traffic, held until the evidence is enough."""

    weight_percent: int = Field(description="Share of the traffic for the candidate, 1 to 99.")
    duration_s: Finite = Field(DEFAULT_STEPS[0].duration_s, description="Shortest time at this weight, seconds.")
    min_requests: int = Field(
        DEFAULT_STEPS[0].min_requests, description="Answers that stable and candidate must each have given."
    )

    def step(self) -> Step:
        """Return the checked step."""
        return Step(self.weight_percent, self.duration_s, self.min_requests)


class AnalysisModel(_Strict):
    """How much worse than stable a candidate may be, and how sure a rollback must be."""

    max_error_increase: Finite = Field(
        _DEFAULTS.max_error_increase, description="Allowed increase of the share of bad answers, absolute."
    )
    max_stable_error: Finite = Field(
        _DEFAULTS.max_stable_error, description="Share of bad answers of stable above which nothing passes."
    )
    max_p99_ratio: Finite = Field(_DEFAULTS.max_p99_ratio, description="Allowed p99 as a multiple of stable's.")
    p99_floor_s: Finite = Field(_DEFAULTS.p99_floor_s, description="Slower by no more than this is never judged.")
    slow_s: Finite | None = Field(
        _DEFAULTS.slow_s, description="Answers that take longer are slow, seconds; null asks nothing of their share."
    )
    max_slow_increase: Finite = Field(
        _DEFAULTS.max_slow_increase, description="Allowed increase of the share of slow answers, absolute."
    )
    max_prediction_shift: Finite = Field(
        _DEFAULTS.max_prediction_shift, description="Allowed total variation between the mixes of predicted classes."
    )
    false_rollback_bound: Finite = Field(
        _DEFAULTS.false_rollback_bound, description="Highest probability of rolling back a candidate that is fine."
    )
    false_promotion_bound: Finite = Field(
        _DEFAULTS.false_promotion_bound,
        description="Highest probability of promoting one whose bad or slow answers or p99 are over what is allowed.",
    )

    def config(self) -> AnalysisConfig:
        """Return the checked configuration."""
        return AnalysisConfig(**self.model_dump())


class RolloutModel(_Strict):
    """A rollout to start."""

    model: str = Field(description="Model name.")
    version: int = Field(description="The candidate: a published version that is not the stable one.")
    strategy: Strategy = Strategy.CANARY
    steps: list[StepModel] = Field(
        [StepModel(weight_percent=step.weight_percent) for step in DEFAULT_STEPS],
        min_length=1,
        max_length=MAX_STEPS,
        description="Weights in the order they are taken, each higher than the one before.",
    )
    analysis: AnalysisModel = AnalysisModel()
    max_step_duration_s: Finite = Field(3600.0, description="A step without a pass by then is inconclusive, seconds.")
    on_inconclusive: OnInconclusive = Field(
        OnInconclusive.ABORT, description="abort gives stable all traffic back; pause holds the weight for a person."
    )

    def spec(self) -> RolloutSpec:
        """Return the checked specification.

        Raises:
            InvalidRequest: A value is out of its range.
        """
        return RolloutSpec(
            self.model,
            self.version,
            self.strategy,
            tuple(step.step() for step in self.steps),
            self.analysis.config(),
            self.max_step_duration_s,
            self.on_inconclusive,
        )


_REQUEST_ID = "A name of the client's for this request: sent again with it, it is answered and not done again."


class StartModel(RolloutModel):
    """A rollout to start, and who starts it."""

    actor: str = Field("anonymous", min_length=1, max_length=200, description="Who asks; goes into the history.")
    request_id: str = Field("", max_length=200, description=_REQUEST_ID)


class VerbModel(_Strict):
    """Who uses a verb, and why."""

    actor: str = Field("anonymous", min_length=1, max_length=200, description="Who asks; goes into the history.")
    reason: str = Field("", max_length=2000, description="Why; goes into the history.")
    request_id: str = Field("", max_length=200, description=_REQUEST_ID)
