"""What is on the first page: models and rollouts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.controller.dashboard import words
from services.core.rollouts.rollout import Rollout

_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model in a list."""

    name: str
    stable: str
    candidate: str
    published: str
    loaded: str
    problem: str
    rollout: str


@dataclass(frozen=True, slots=True)
class RolloutLine:
    """One rollout in a list."""

    id: str
    model: str
    versions: str
    phase: str
    state: str
    step: str
    weight: str
    reason: str
    created_at: float


@dataclass(frozen=True, slots=True)
class IndexPage:
    """All models and rollouts.

    Attributes:
        models: The models by name.
        active: Rollouts that are not over.
        over: Rollouts that are, the latest first.
        problems: What keeps the controller from deciding, by part.
        workers: How many gateway workers report, in words.
    """

    models: tuple[ModelLine, ...]
    active: tuple[RolloutLine, ...]
    over: tuple[RolloutLine, ...]
    problems: tuple[tuple[str, str], ...]
    workers: str


def index_page(
    models: Sequence[dict[str, Any]], rollouts: Sequence[Rollout], readiness: dict[str, Any], workers: int
) -> IndexPage:
    """Return what is shown.

    Args:
        models: What ``Overview.models`` says.
        rollouts: The latest rollouts.
        readiness: What ``Overview.readiness`` says.
        workers: Gateway workers that report.
    """
    return IndexPage(
        tuple(model_line(model) for model in models),
        tuple(rollout_line(rollout) for rollout in rollouts if not rollout.phase.terminal),
        tuple(rollout_line(rollout) for rollout in rollouts if rollout.phase.terminal),
        tuple((name, text) for name, text in readiness.items() if name != "ready" and text != "ok"),
        _reporting(workers),
    )


def model_line(model: dict[str, Any]) -> ModelLine:
    """Return a line for what ``Overview.model`` says."""
    candidate = model["candidate"]
    loaded = model["loaded"]
    return ModelLine(
        model["model"],
        words.NOTHING if model["stable"] is None else f"version {model['stable']}",
        "" if candidate is None else f"version {candidate} at {model['weight_percent']} %",
        _versions(model["published"]),
        "not known: Triton does not answer" if loaded is None else _versions(loaded),
        model["problem"] or "",
        model["rollout"] or "",
    )


def rollout_line(rollout: Rollout) -> RolloutLine:
    """Return a line for a rollout."""
    reason = words.brief(rollout.reason)
    return RolloutLine(
        rollout.id,
        rollout.model,
        f"{rollout.stable} \N{RIGHTWARDS ARROW} {rollout.candidate}",
        rollout.phase.value,
        words.state(rollout.phase.value),
        f"{rollout.step + 1} of {len(rollout.spec.steps)}",
        f"{rollout.weight_percent} %",
        reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON].rstrip()} \N{HORIZONTAL ELLIPSIS}",
        rollout.created_at,
    )


def _reporting(workers: int) -> str:
    if workers == 1:
        return "One gateway worker reports what it answers."
    return f"{workers or 'No'} gateway workers report what they answer."


def _versions(versions: Sequence[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
