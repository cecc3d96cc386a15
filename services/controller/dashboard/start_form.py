"""The form that starts a rollout: its fields, and where what is wrong with them is said. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from services.controller.api.rest_models import AnalysisModel, StartModel
from services.controller.dashboard.form_fields import (
    TOLERANCE,
    Field,
    fields_of,
    fresh_tolerances,
    mentioned,
    plain,
    shown,
    text_of,
    tolerance_named,
    tolerances_of,
)
from services.core.errors import InvalidRequest
from services.core.rollouts.rollout_spec import DEFAULT_STEPS, LONGEST_STEP_S, OnInconclusive, RolloutSpec, Strategy

STEP_ROWS = 6
STEP_FIELDS = ("weight_percent", "duration_s", "min_requests", "mirror_percent")
_OPTIONAL = frozenset({"mirror_percent"})


@dataclass(frozen=True, slots=True)
class StartForm:
    """What was filled in.

    Attributes:
        values: By field name, as text.
        errors: What is wrong, by field name; under ``form`` what concerns no single field.
    """

    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def tolerances(self) -> list[Field]:
        """The fields that say how much worse a candidate may be."""
        return fields_of(AnalysisModel, TOLERANCE, self.values)

    @property
    def strategies(self) -> list[str]:
        """How a candidate may get its traffic."""
        # An A/B test has arms and an outcome, and a form of its own.
        return [strategy.value for strategy in Strategy if strategy is not Strategy.AB]

    @property
    def tolerance_errors(self) -> bool:
        """Whether one of them is wrong."""
        return any(name.startswith(TOLERANCE) for name in self.errors)

    def with_errors(self, errors: Mapping[str, str]) -> StartForm:
        """Return the same with what is wrong."""
        return StartForm(self.values, errors)

    def document(self, model: str) -> dict[str, Any]:
        """Return the body that the API would get."""
        steps = []
        for row in range(STEP_ROWS):
            step = {key: self._text(f"step-{row}-{key}") for key in STEP_FIELDS}
            if any(step.values()):
                # No mirror is what most steps have: there an empty field says so.
                steps.append({key: value for key, value in step.items() if value or key not in _OPTIONAL})
        document: dict[str, Any] = {"model": model, "version": self._text("version"), "actor": self._text("actor")}
        document |= {key: self._text(key) for key in ("strategy", "max_step_duration_s", "on_inconclusive")}
        document["analysis"] = tolerances_of(self.values)
        # Rows that nobody touched are a canary's; another strategy then has steps of its own.
        if document["strategy"] != Strategy.CANARY.value and steps == _CANARY_ROWS:
            return document
        return {**document, "steps": steps}

    def _text(self, name: str) -> str:
        return text_of(self.values, name)


_CANARY_ROWS = [
    {key: shown(value) for key in STEP_FIELDS if (value := getattr(step, key)) or key not in _OPTIONAL}
    for step in DEFAULT_STEPS
]


def fresh_form(version: int | None) -> StartForm:
    """Return the form with the API's defaults.

    Args:
        version: The version that is chosen at first.
    """
    values = {"version": "" if version is None else str(version), "actor": ""}
    for row, step in enumerate(_CANARY_ROWS):
        values |= {f"step-{row}-{key}": value for key, value in step.items()}
    values |= dict(fresh_tolerances())
    values["max_step_duration_s"] = shown(LONGEST_STEP_S[Strategy.CANARY])
    values["strategy"] = Strategy.CANARY.value
    values["on_inconclusive"] = OnInconclusive.ABORT.value
    return StartForm(values)


def read(form: StartForm, model: str) -> tuple[RolloutSpec, str] | StartForm:
    """Return the specification and who asks, or the form with what is wrong with it.

    Args:
        form: What was filled in.
        model: The model.
    """
    document = form.document(model)
    try:
        body = StartModel.model_validate(document)
    except ValidationError as error:
        return form.with_errors(dict(_placed(error, form)))
    faults: dict[str, str] = {}
    for row, step in zip(_filled(form), body.steps or (), strict=body.steps is not None):
        try:
            step.step()
        except InvalidRequest as error:
            faults[f"step-{row}-{mentioned(error.message, STEP_FIELDS, 'weight_percent')}"] = error.message
    if faults:
        return form.with_errors(faults)
    try:
        return body.spec(), body.actor
    except InvalidRequest as error:
        return form.with_errors({place(error.message): error.message})


def place(message: str) -> str:
    """Return the field that the words of a refusal belong to."""
    tolerance = tolerance_named(message)
    if tolerance is not None:
        return tolerance
    if message.startswith("max_step_duration_s"):
        return "max_step_duration_s"
    if "step" in message.partition(";")[0]:
        return "steps"
    if "version" in message and "rollout" not in message:
        return "version"
    return "form"


def _placed(error: ValidationError, form: StartForm) -> Iterable[tuple[str, str]]:
    rows = _filled(form)
    for fault in error.errors(include_url=False):
        words = plain(fault["type"], fault["msg"])
        match fault["loc"]:
            case ("steps", int(index), key) if index < len(rows):
                yield f"step-{rows[index]}-{key}", words
            case ("steps", int(index), *_) if index < len(rows):
                yield f"step-{rows[index]}-weight_percent", words
            case ("steps", *_):
                yield "steps", "give at least one step"
            case ("analysis", key, *_):
                yield f"{TOLERANCE}{key}", words
            case ("actor", *_):
                yield "actor", "say who you are: it goes into the history"
            case ("version", *_):
                yield "version", "choose a version"
            case (str(key), *_):
                yield key, words
            case _:
                yield "form", words


def _filled(form: StartForm) -> list[int]:
    return [
        row for row in range(STEP_ROWS) if any(form.values.get(f"step-{row}-{key}", "").strip() for key in STEP_FIELDS)
    ]
