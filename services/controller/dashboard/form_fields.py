"""What the forms that start something have in common: fields of the API's tolerances, defaults, plain words. Pure.

The tolerances are the fields of the API, with its names, units and words, so that one that is added there is here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from services.controller.api.rest_models import AnalysisModel

TOLERANCE = "analysis."


@dataclass(frozen=True, slots=True)
class Field:
    """An input with what is in it and what is meant."""

    name: str
    label: str
    hint: str
    value: str


def text_of(values: Mapping[str, str], name: str) -> str:
    """Return what is in a field."""
    return values.get(name, "").strip()


def fields_of(model: type[BaseModel], prefix: str, values: Mapping[str, str]) -> list[Field]:
    """Return the fields of a part of the API, each under its name after a prefix."""
    return [
        # The API's null is an empty field here.
        Field(name, label_of(key), (info.description or "").replace("null asks", "empty asks"), text_of(values, name))
        for key, info in model.model_fields.items()
        for name in [prefix + key]
    ]


def tolerances_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the tolerances as the API would get them.

    A field that was emptied is a mistake, not a default; empty says something only where nothing is asked for.
    """
    return {
        key: text_of(values, TOLERANCE + key) or (None if NoneType in get_args(info.annotation) else "")
        for key, info in AnalysisModel.model_fields.items()
    }


def fresh_tolerances() -> Iterator[tuple[str, str]]:
    """Yield the API's defaults by field name."""
    for key, info in AnalysisModel.model_fields.items():
        yield TOLERANCE + key, shown(info.default)


def tolerance_named(message: str) -> str | None:
    """Return the field of the tolerance that a refusal begins with; None where it begins otherwise."""
    return next((TOLERANCE + key for key in AnalysisModel.model_fields if message.startswith(key)), None)


def shown(value: object) -> str:
    """Return a default as it stands in a field."""
    return "" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)


def plain(kind: str, message: str) -> str:
    """Return what is wrong with a value, for a person."""
    if kind.startswith("int_"):
        return "expected a whole number"
    return "expected a number" if kind.startswith(("float_", "finite_")) else message


def mentioned(message: str, names: tuple[str, ...], otherwise: str) -> str:
    """Return the first of the names that the words of a refusal have in them."""
    return next((name for name in names if name in message), otherwise)


def label_of(key: str) -> str:
    """Return a name of the API as a label, with its unit."""
    unit = " (seconds)" if key.endswith("_s") else ""
    return key.removesuffix("_s").replace("_", " ").capitalize() + unit
