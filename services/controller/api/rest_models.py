"""What REST takes in. ``penstock rollout start --file`` reads the same fields from YAML."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.core.memory.terms import LeakCheck, MemoryTerms, OnUnknown
from services.core.rollouts.custom_metric import MAX_METRICS, CustomMetric
from services.core.rollouts.experiment import MAX_ARMS, Better, Experiment, OnWin, OutcomeKind, OutcomeSpec
from services.core.rollouts.feedback import MAX_BATCH, MAX_ID, Feedback
from services.core.rollouts.rollout_spec import (
    DEFAULT_STEPS,
    LONGEST_STEP_S,
    MAX_STEPS,
    STEPS_OF,
    AnalysisConfig,
    Copies,
    OnInconclusive,
    RolloutSpec,
    Step,
    Strategy,
)
from services.core.rollouts.webhook import MAX_WEBHOOKS, Occasion, Webhook
from services.core.route import Arm

_DEFAULTS, _COPIES, _MEMORY = AnalysisConfig(), Copies(), MemoryTerms()
Finite = Annotated[float, Field(allow_inf_nan=False)]


# As ``services.triton.layout`` has it.
_LONGEST_MODEL = 128
# Of every text without a bound of its own; one with a bound is UTF-8 as well, and JSON's lone surrogates are none.
_LONGEST_TEXT = 8192


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_max_length=_LONGEST_TEXT)


class StepModel(_Strict):
    """A share of the traffic, held until the evidence is enough."""

    weight_percent: int = Field(description="Share of the traffic for the candidate, 0 to 100.")
    duration_s: Finite = Field(DEFAULT_STEPS[0].duration_s, description="Shortest time at this weight, seconds.")
    min_requests: int = Field(
        DEFAULT_STEPS[0].min_requests, description="Answers that stable and candidate must each have given."
    )
    mirror_percent: int = Field(
        0, description="Share of the requests that are copied to the version that did not answer them, 0 to 100."
    )

    def step(self) -> Step:
        """Return the checked step."""
        return Step(self.weight_percent, self.duration_s, self.min_requests, self.mirror_percent)


class AnalysisModel(_Strict):
    """How much worse than stable a candidate may be, and how sure a rollback must be."""

    max_error_increase: Finite = Field(
        _DEFAULTS.max_error_increase, description="Allowed increase of the share of bad answers, absolute."
    )
    max_non_finite_increase: Finite | None = Field(
        _DEFAULTS.max_non_finite_increase,
        description="Allowed increase of the share of answers that are not finite, absolute, where stable is known to "
        "give such answers too; where it is not, one is too many. null lets them count as bad answers do.",
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
    max_score_shift: Finite | None = Field(
        _DEFAULTS.max_score_shift,
        description="Allowed KS distance between the distributions of confidences and of numeric outputs; null asks "
        "nothing of them.",
    )
    max_disagreement: Finite = Field(
        _DEFAULTS.max_disagreement,
        description="Allowed share of copied requests that are answered differently, beyond the noise floor.",
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


class CopiesModel(_Strict):
    """How the answers to copied requests are compared."""

    floor_percent: int = Field(
        _COPIES.floor_percent, description="Share of the copies that go to the version that answered itself, 0 to 90."
    )
    slice_key: str = Field(
        _COPIES.slice_key, description="Header or parameter by whose value comparisons are counted apart."
    )
    relative_tolerance: Finite = Field(
        _COPIES.relative_tolerance, description="Two elements differ beyond this share of the larger one"
    )
    absolute_tolerance: Finite = Field(_COPIES.absolute_tolerance, description="and this distance together.")
    scores: bool = Field(
        _COPIES.scores, description="Whether scores of labelled classes count too, not the first alone."
    )

    def copies(self) -> Copies:
        """Return the checked value."""
        return Copies(**self.model_dump())


class MemoryModel(_Strict):
    """What is asked of memory: room before the candidate is loaded, and no leak while it answers."""

    reserve: Finite = Field(
        _MEMORY.reserve, description="Share of each Triton's memory that must stay free when it is loaded."
    )
    on_unknown: OnUnknown = Field(
        _MEMORY.on_unknown, description="go-on loads it where a Triton's memory is not known; refuse does not."
    )
    leak_check: LeakCheck = Field(
        _MEMORY.leak_check,
        description="watch: a leak that is shown rolls back. require: no step passes before its memory was watched "
        "for window_s and is within what is allowed. off: it is not looked at.",
    )
    max_growth_mib_per_h: Finite = Field(
        _MEMORY.max_growth_mib_per_h, description="Allowed growth beyond stable's on one Triton, MiB an hour, or"
    )
    max_growth_share_per_h: Finite = Field(
        _MEMORY.max_growth_share_per_h, description="this share of its size an hour, if that is more."
    )
    window_s: Finite = Field(_MEMORY.window_s, description="Shortest time that a leak is shown by, seconds.")
    interval_s: Finite = Field(_MEMORY.interval_s, description="Time between two samples, seconds.")

    def terms(self) -> MemoryTerms:
        """Return the checked value."""
        return MemoryTerms(**self.model_dump())


class MetricModel(_Strict):
    """A metric of somebody else's, and what is good."""

    name: str = Field(description="Names the check: lower-case letters, digits, '-' and '_'.")
    query: str = Field(description="PromQL that gives one number; {{model}}, {{stable}} and {{candidate}} are put in.")
    at_most: Finite | None = Field(None, description="The largest good value.")
    at_least: Finite | None = Field(None, description="The smallest good value.")
    interval_s: Finite = Field(15.0, description="Time between two measurements, seconds.")
    count: int = Field(3, description="Good measurements that a step needs before it may pass.")
    failure_limit: int = Field(0, description="So many bad measurements are tolerated in a step.")
    consecutive_error_limit: int = Field(4, description="So many measurements without a value are, in a row.")

    def metric(self) -> CustomMetric:
        """Return the checked metric."""
        return CustomMetric(**self.model_dump())


class WebhookModel(_Strict):
    """A service that is asked for confirmation or told, as in Flagger; an answer is good when its status is 2xx."""

    name: str = Field(description="Names it in the history: lower-case letters, digits, '-' and '_'.")
    occasion: Occasion = Field(description="When it is called, and what its answer means.")
    url: str = Field(description="Where; HTTP or HTTPS.")
    timeout_s: Finite = Field(10.0, description="Longest wait for one answer, seconds.")
    retries: int = Field(3, description="How often a call without a good answer is made again, or is tolerated.")
    interval_s: Finite = Field(15.0, description="Time between two calls of one that is asked during a step, seconds.")
    metadata: dict[str, str] = Field({}, description="Goes along with every call.")

    def webhook(self) -> Webhook:
        """Return the checked webhook."""
        return Webhook(**self.model_dump())


class ArmModel(_Strict):
    """A further version of an A/B test."""

    version: int = Field(description="A published version.")
    weight_percent: int = Field(description="Its share of the traffic, 1 to 98.")


class OutcomeModel(_Strict):
    """The outcome that is fed back."""

    name: str = Field(description="Names it in feedback: lower-case letters, digits, '-' and '_'.")
    kind: OutcomeKind = Field(OutcomeKind.SHARE, description="share is 0 or 1; value is a number from low to high.")
    low: Finite = Field(0.0, description="Smallest value, 0 or more.")
    high: Finite = Field(1.0, description="Largest value.")
    better: Better = Field(Better.HIGHER, description="Which way is an improvement.")


class ExperimentModel(_Strict):
    """What an A/B test asks."""

    outcome: OutcomeModel
    arms: list[ArmModel] = Field([], max_length=MAX_ARMS, description="Versions beside the candidate.")
    min_lift: Finite = Field(0.02, description="Smallest improvement that matters, as a share of stable's mean.")
    significance: Finite = Field(0.05, description="Highest probability of a false claim, over all arms.")
    min_outcomes: int = Field(200, description="Outcomes that stable and each arm must have before a verdict.")
    on_win: OnWin = Field(
        OnWin.CONCLUDE, description="conclude leaves stable the traffic; promote gives it to the winner."
    )

    def experiment(self) -> Experiment:
        """Return the checked value."""
        return Experiment(
            OutcomeSpec(**self.outcome.model_dump()),
            tuple(Arm(arm.version, arm.weight_percent) for arm in self.arms),
            self.min_lift,
            self.significance,
            self.min_outcomes,
            self.on_win,
        )


class FeedbackModel(_Strict):
    """What became of one answer."""

    id: str = Field(min_length=1, max_length=MAX_ID, description="Id of the inference request.")
    model_version: int = Field(description="The version that answered it.")
    outcomes: dict[str, Finite] = Field(min_length=1, max_length=8, description="Values by name of the outcome.")

    def feedback(self) -> list[Feedback]:
        """Return the outcomes, one by one."""
        return [Feedback(self.id, self.model_version, name, value) for name, value in self.outcomes.items()]


FeedbackModels = FeedbackModel | Annotated[list[FeedbackModel], Field(min_length=1, max_length=MAX_BATCH)]


class RolloutModel(_Strict):
    """A rollout to start."""

    model: str = Field(max_length=_LONGEST_MODEL, description="Model name.")
    version: int = Field(description="The candidate: a published version that is not the stable one.")
    strategy: Strategy = Strategy.CANARY
    steps: list[StepModel] | None = Field(
        None,
        min_length=1,
        max_length=MAX_STEPS,
        description="Weights in the order they are taken, each higher than the one before; by default the strategy's.",
    )
    analysis: AnalysisModel = AnalysisModel()
    max_step_duration_s: Finite | None = Field(
        None, description="A step without a pass by then is inconclusive, seconds; by default an hour, for ab 14 days."
    )
    on_inconclusive: OnInconclusive = Field(
        OnInconclusive.ABORT, description="abort gives stable all traffic back; pause holds the weight for a person."
    )
    copies: CopiesModel = CopiesModel()
    webhooks: list[WebhookModel] = Field([], max_length=MAX_WEBHOOKS, description="Who is asked or told, and when.")
    metrics: list[MetricModel] = Field([], max_length=MAX_METRICS, description="What else is asked of Prometheus.")
    memory: MemoryModel = MemoryModel()
    experiment: ExperimentModel | None = Field(None, description="What an A/B test asks; for strategy ab alone.")

    def spec(self) -> RolloutSpec:
        """Return the checked specification.

        Raises:
            InvalidRequest: A value is out of its range.
        """
        return RolloutSpec(
            self.model,
            self.version,
            self.strategy,
            STEPS_OF[self.strategy] if self.steps is None else tuple(step.step() for step in self.steps),
            self.analysis.config(),
            LONGEST_STEP_S[self.strategy] if self.max_step_duration_s is None else self.max_step_duration_s,
            self.on_inconclusive,
            self.copies.copies(),
            tuple(metric.metric() for metric in self.metrics),
            tuple(webhook.webhook() for webhook in self.webhooks),
            self.memory.terms(),
            None if self.experiment is None else self.experiment.experiment(),
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
