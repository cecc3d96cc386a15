"""The steps of a rollout, and the share of the traffic that was meant and that was seen. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.controller.dashboard import words
from services.core.rollouts.rollout import Phase, Rollout


@dataclass(frozen=True, slots=True)
class StepView:
    """One step: ``state`` is done, current, ahead, left (where the rollout ended) or skipped."""

    number: int
    weight_percent: int
    state: str
    terms: str


@dataclass(frozen=True, slots=True)
class Weight:
    """The candidate's share of the traffic.

    Attributes:
        desired: By the state, percent.
        actual: Of the requests of this step, percent; None before there are any.
        actual_words: The same with the counts that it was made of.
        workers_words: How many gateway workers serve with the present route.
        lagging: Workers that do not yet.
    """

    desired: int
    actual: float | None
    actual_words: str
    workers_words: str
    lagging: tuple[str, ...]


def steps_of(rollout: Rollout) -> tuple[StepView, ...]:
    """Return the steps in order."""
    return tuple(
        StepView(
            index + 1,
            step.weight_percent,
            _state(rollout, index),
            f"at least {words.duration(step.duration_s)} and {words.count(step.min_requests)} answers of each version",
        )
        for index, step in enumerate(rollout.spec.steps)
    )


def _state(rollout: Rollout, index: int) -> str:
    if index < rollout.step:
        return "done"
    if rollout.phase.weighted:
        return "current" if index == rollout.step else "ahead"
    if rollout.phase is Phase.PREPARING:
        return "ahead"
    promoted = rollout.phase in {Phase.PROMOTING, Phase.PROMOTED}
    if index > rollout.step or (not promoted and not _was_taken(rollout)):
        return "skipped"
    return "done" if promoted and rollout.on_last_step else "left"


def _was_taken(rollout: Rollout) -> bool:
    """Whether the candidate ever had traffic: a rollout may be over before that."""
    return rollout.step > 0 or bool(rollout.evidence.cursors) or rollout.verdict is not None


def weight_of(rollout: Rollout, serving: dict[str, Any]) -> Weight:
    """Return the weight that was meant and the one that was seen.

    Args:
        rollout: The rollout.
        serving: What ``Overview.serving`` says of its model.
    """
    seen = rollout.evidence
    mine = seen.candidate.requests
    total = mine + seen.stable.requests + sum(arm.requests for arm in seen.arms.values())
    share = mine / total if total else None
    place = "this step" if rollout.phase.weighted else "the last step"
    counts = f"{words.count(mine)} of {words.count(total)} requests of {place}"
    actual = f"no requests in {place}" if share is None else f"{words.percent(share)}: {counts}"
    percent = None if share is None else 100 * share
    return Weight(rollout.weight_percent, percent, actual, words.serving(serving), tuple(serving["lagging"]))
