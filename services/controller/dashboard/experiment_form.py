"""The form that starts an A/B test: its fields, and where what is wrong with them is said. Pure.

A field's name is where its value stands in the body of the API, with dots between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from services.controller.api.rest_models import AnalysisModel, ExperimentModel, StartModel
from services.controller.dashboard.form_fields import (
    TOLERANCE,
    Field,
    fields_of,
    fresh_tolerances,
    plain,
    shown,
    text_of,
    tolerance_named,
    tolerances_of,
)
from services.core.errors import InvalidRequest
from services.core.rollouts.experiment import MAX_ARMS, Experiment, OutcomeSpec
from services.core.rollouts.rollout_spec import LONGEST_STEP_S, STEPS_OF, OnInconclusive, RolloutSpec, Strategy

ARMS = "arms"
_STEP, _OUTCOME, _EXPERIMENT, _ARM = "steps.0.", "experiment.outcome.", "experiment.", "experiment.arms."
_OUTCOME_FIELDS = ("name", "kind", "low", "high", "better")
_TERMS = ("min_lift", "significance", "min_outcomes")
_STEP_FIELDS = ("weight_percent", "duration_s", "min_requests")
_OTHERS = ("version", "actor", "max_step_duration_s", "on_inconclusive", "experiment.on_win")


@dataclass(frozen=True, slots=True)
class ArmFields:
    """Two fields: which version, and its share of the traffic."""

    legend: str
    version: str
    share: str
    optional: bool


@dataclass(frozen=True, slots=True)
class ExperimentForm:
    """What was filled in.

    Attributes:
        values: By field name, as text.
        errors: What is wrong, by field name; under ``arms`` what concerns all of them, under ``form`` what concerns
            no single field.
    """

    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def terms(self) -> list[Field]:
        """The fields that say what a win is."""
        return [each for each in fields_of(ExperimentModel, _EXPERIMENT, self.values) if _last(each.name) in _TERMS]

    @property
    def tolerances(self) -> list[Field]:
        """The fields that say how much worse an arm may be."""
        return fields_of(AnalysisModel, TOLERANCE, self.values)

    @property
    def tolerance_errors(self) -> bool:
        """Whether one of them is wrong."""
        return any(name.startswith(TOLERANCE) for name in self.errors)

    def version_options(self, choices: Sequence[int], arm: ArmFields) -> list[tuple[str, str]]:
        """Return what an arm may be: versions that may be rolled out, what was chosen, and none where that may be."""
        chosen = text_of(self.values, arm.version)
        versions = [str(version) for version in choices]
        if chosen and chosen not in versions:
            versions.append(chosen)
        none = [("", "none")] if arm.optional else []
        return none + [(version, version) for version in versions]

    def arms(self, choices: Sequence[int]) -> list[ArmFields]:
        """Return as many rows as there can be arms, and those that were filled in."""
        filled = [number for number, arm in enumerate(_ROWS) if self._filled(arm)]
        return list(_ROWS[: max(1, min(len(choices), len(_ROWS)), *(number + 1 for number in filled))])

    def further(self) -> list[ArmFields]:
        """Return the rows beside the candidate's that something is in."""
        return [arm for arm in _ROWS[1:] if self._filled(arm)]

    def with_errors(self, errors: Mapping[str, str]) -> ExperimentForm:
        """Return the same with what is wrong."""
        return ExperimentForm(self.values, errors)

    def document(self, model: str) -> dict[str, Any]:
        """Return the body that the API would get; a field that was emptied is a mistake, not a default."""
        text = {name: text_of(self.values, name) for name in _names()}
        return {
            "model": model,
            "version": text["version"],
            "actor": text["actor"],
            "strategy": Strategy.AB.value,
            "steps": [{key: text[_STEP + key] for key in _STEP_FIELDS}],
            "analysis": tolerances_of(self.values),
            "max_step_duration_s": text["max_step_duration_s"],
            "on_inconclusive": text["on_inconclusive"],
            "experiment": {
                "outcome": {key: text[_OUTCOME + key] for key in _OUTCOME_FIELDS},
                "arms": [{"version": text[arm.version], "weight_percent": text[arm.share]} for arm in self.further()],
                **{key: text[_EXPERIMENT + key] for key in _TERMS},
                "on_win": text["experiment.on_win"],
            },
        }

    def _filled(self, arm: ArmFields) -> bool:
        return bool(text_of(self.values, arm.version) or text_of(self.values, arm.share))


_ROWS = (
    ArmFields("Candidate", "version", f"{_STEP}weight_percent", optional=False),
    *(
        ArmFields(f"Arm {row + 2}", f"{_ARM}{row}.version", f"{_ARM}{row}.weight_percent", optional=True)
        for row in range(MAX_ARMS)
    ),
)


def fresh_experiment(version: int | None) -> ExperimentForm:
    """Return the form with the API's defaults.

    Args:
        version: The version that is chosen at first.
    """
    [step], experiment = STEPS_OF[Strategy.AB], Experiment(OutcomeSpec("clicked"))
    values = {"version": "" if version is None else str(version), "actor": ""}
    values |= {_STEP + key: shown(getattr(step, key)) for key in _STEP_FIELDS}
    values |= {_OUTCOME + key: shown(getattr(experiment.outcome, key)) for key in _OUTCOME_FIELDS}
    values |= {_EXPERIMENT + key: shown(getattr(experiment, key)) for key in (*_TERMS, "on_win")}
    values |= dict(fresh_tolerances())
    values["max_step_duration_s"] = shown(LONGEST_STEP_S[Strategy.AB])
    values["on_inconclusive"] = OnInconclusive.ABORT.value
    # What is told is not known beforehand: an empty name is asked for.
    return ExperimentForm({**values, f"{_OUTCOME}name": ""})


def read_experiment(form: ExperimentForm, model: str) -> tuple[RolloutSpec, str] | ExperimentForm:
    """Return the specification and who asks, or the form with what is wrong with it.

    Args:
        form: What was filled in.
        model: The model.
    """
    try:
        body = StartModel.model_validate(form.document(model))
    except ValidationError as error:
        return form.with_errors(dict(_placed(error, form)))
    try:
        return body.spec(), body.actor
    except InvalidRequest as error:
        return form.with_errors({place_of(error.message, form): error.message})


def place_of(message: str, form: ExperimentForm) -> str:
    """Return the field that the words of a refusal belong to."""
    tolerance = tolerance_named(message)
    if tolerance is not None:
        return tolerance
    if "max_step_duration_s" in message:
        return "max_step_duration_s"
    for beginning, name in _BEGINNINGS:
        if re.match(beginning, message):
            return name
    return _arm_named(message, form) or "form"


_BEGINNINGS = (
    (r"outcome '.*'; expected a name", f"{_OUTCOME}name"),
    (r"outcome '.*' is a share", f"{_OUTCOME}kind"),
    (r"outcome '.*' is from", f"{_OUTCOME}low"),
    *((key, _EXPERIMENT + key) for key in _TERMS),
    (r"a step's duration_s", f"{_STEP}duration_s"),
    (r"a step's min_requests", f"{_STEP}min_requests"),
    (r"(a step's weight|a step with weight|the steps' weights)", f"{_STEP}weight_percent"),
    (r"the arms ", ARMS),
)


def _arm_named(message: str, form: ExperimentForm) -> str | None:
    named = re.search(r"version (\d+)", message)
    for arm in _ROWS:
        if named is not None and text_of(form.values, arm.version) == named[1]:
            return arm.share if " %" in message else arm.version
    return None


def _placed(error: ValidationError, form: ExperimentForm) -> Iterable[tuple[str, str]]:
    known, rows = _names() | {name for name, _ in fresh_tolerances()}, form.further()
    for fault in error.errors(include_url=False):
        words = plain(fault["type"], fault["msg"])
        match fault["loc"]:
            case ("experiment", "arms", int(index), "version"):
                yield rows[index].version, "choose a version"
            case ("experiment", "arms", int(index), *_):
                yield rows[index].share, words
            case ("actor", *_):
                yield "actor", "say who you are: it goes into the history"
            case ("version", *_):
                yield "version", "choose a version"
            case place:
                name = ".".join(map(str, place))
                yield (name, words) if name in known else ("form", f"{name}: {words}")


def _names() -> set[str]:
    fields = {_STEP + key for key in _STEP_FIELDS} | {_OUTCOME + key for key in _OUTCOME_FIELDS}
    fields |= {_EXPERIMENT + key for key in _TERMS} | set(_OTHERS)
    return fields | {name for arm in _ROWS for name in (arm.version, arm.share)}


def _last(name: str) -> str:
    return name.rpartition(".")[2]
