"""How a specification is said on the command line of ``penstock rollout start``, as far as it can be. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from services.core.memory.terms import MemoryTerms
from services.core.rollouts.rollout_spec import LONGEST_STEP_S, STEPS_OF, AnalysisConfig, Copies, RolloutSpec, Step


def start_command(spec: RolloutSpec) -> str:
    """Return the command that starts a rollout on the same steps and tolerances; defaults are left out."""
    words = [f"penstock rollout start {spec.model} --version {spec.version} --strategy {spec.strategy.value}"]
    if spec.steps != STEPS_OF[spec.strategy]:
        words += [f"--step {_step(step)}" for step in spec.steps]
    if spec.max_step_duration_s != LONGEST_STEP_S[spec.strategy]:
        words.append(f"--max-step-duration {_seconds(spec.max_step_duration_s)}")
    words += [f"--{name.replace('_', '-')} {value}" for name, value in _changed(spec.analysis, AnalysisConfig())]
    words += [f"--memory-{name.replace('_', '-')} {value}" for name, value in _changed(spec.memory, MemoryTerms())]
    return " ".join(words)


def only_in_a_file(spec: RolloutSpec) -> list[str]:
    """Return the keys of what bears on a verdict and no option can say."""
    unasked = [
        f"analysis.{each.name}"
        for each in fields(AnalysisConfig)
        if getattr(spec.analysis, each.name) is None and each.default is not None
    ]
    copies = ["copies"] if spec.copies != Copies() else []
    metrics = ["metrics"] if spec.metrics else []
    return [*unasked, *copies, *metrics]


def _step(step: Step) -> str:
    mirror = f":{step.mirror_percent}" if step.mirror_percent else ""
    return f"{step.weight_percent}:{_seconds(step.duration_s)}:{step.min_requests}{mirror}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"


def _changed(found: AnalysisConfig | MemoryTerms, default: AnalysisConfig | MemoryTerms) -> Iterator[tuple[str, Any]]:
    for each in fields(found):
        value = getattr(found, each.name)
        if value is not None and value != getattr(default, each.name):
            yield each.name, value
