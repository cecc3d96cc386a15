"""What is on the page of one model. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.controller.dashboard import words
from services.controller.dashboard.index_page import ModelLine, RolloutLine, model_line, rollout_line
from services.core.rollouts.rollout import Rollout


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version: where it is and what part it plays."""

    version: int
    published: str
    loaded: str
    part: str


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One model.

    Attributes:
        line: The model in a line.
        versions: Its versions, the latest first.
        choices: Versions that may be rolled out now; empty where none may.
        refusal: Why none may; empty where one may.
        rollouts: Its rollouts, the latest first.
        serving: Gateway workers that serve with its present route, in words.
    """

    line: ModelLine
    versions: tuple[VersionLine, ...]
    choices: tuple[int, ...]
    refusal: str
    rollouts: tuple[RolloutLine, ...]
    serving: str


def model_page(model: dict[str, Any], rollouts: Sequence[Rollout], serving: dict[str, Any]) -> ModelPage:
    """Return what is shown.

    Args:
        model: What ``Overview.model`` says.
        rollouts: Its latest rollouts.
        serving: What ``Overview.serving`` says of it.
    """
    published, loaded, stable, candidate = (model[key] for key in ("published", "loaded", "stable", "candidate"))
    known = sorted({*published, *(loaded or ()), *(each for each in (stable, candidate) if each)}, reverse=True)
    parts = {stable: "stable", candidate: f"candidate at {model['weight_percent']} %"}
    arms = (model["route"] or {}).get("arms", [])
    parts |= {arm["version"]: f"arm at {arm['weight_percent']} %" for arm in arms}
    versions = tuple(
        VersionLine(
            version,
            "published" if version in published else "not published",
            "not known" if loaded is None else "loaded" if version in loaded else "not loaded",
            parts.get(version, ""),
        )
        for version in known
    )
    choices = tuple(version for version in sorted(published, reverse=True) if version != stable)
    refusal = _refusal(model, choices)
    return ModelPage(
        model_line(model),
        versions,
        () if refusal else choices,
        refusal,
        tuple(rollout_line(rollout) for rollout in rollouts),
        words.serving(serving),
    )


def _refusal(model: dict[str, Any], choices: Sequence[int]) -> str:
    if model["stable"] is None:
        return "No version is served yet, so there is nothing to compare a candidate with."
    if model["rollout"]:
        return f"Rollout {model['rollout']} is under way. The next one can begin when it is over."
    if not choices:
        return f"Version {model['stable']} is the only one that is published. Build another one first."
    return ""
