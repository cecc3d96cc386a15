"""The record of a tuning: a line of JSON per trial, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtest.tune.configuration import Configuration
from loadtest.tune.goodput import Goodput, Window
from services.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration, measured.

    Attributes:
        configuration: What was measured.
        to_beat: What the best one before it carried, requests/s.
        goodput: What it carries; None where Triton did not load it, or did not answer once it had.
        error: Why not; empty where it did.
        started: When, ISO 8601 in UTC.
        seconds: How long it took.
        triton_ended: How often Triton ended in the middle of it, and it was measured again.
    """

    configuration: Configuration
    to_beat: float
    goodput: Goodput | None
    error: str
    started: str
    seconds: float
    triton_ended: int = 0

    @property
    def rate(self) -> float:
        """Requests/s that it carries; 0 where it does not, or where it was given up as no better."""
        return self.goodput.rate if self.goodput is not None else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; what is infinite is null."""
        return dict(finite(asdict(self)))

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Trial:
        """Return the trial of a line."""
        goodput = found["goodput"]
        if goodput is not None:
            windows = tuple(Window(**{**one, "quantile_s": _number(one["quantile_s"])}) for one in goodput["windows"])
            goodput = Goodput(**{**goodput, "windows": windows})
        return cls(**{**found, "configuration": Configuration(**found["configuration"]), "goodput": goodput})


class Journal:
    """A file of trials of one question: model, version, SLO, space, machine.

    Args:
        path: The file; made where it is missing.
        question: What is asked. A file that answers another question is refused.

    Raises:
        ConfigurationError: The file is another question's, or no journal at all.
    """

    def __init__(self, path: Path, question: Mapping[str, Any]) -> None:
        self._path = path
        self.trials: list[Trial] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_lines(path)
        if not whole:
            self._append(question)
            return
        if json.loads(json.dumps(question)) != whole[0]:
            raise ConfigurationError(
                f"{path} is of another tuning: {_difference(whole[0], question)}; move it away, or give another --out"
            )
        try:
            self.trials = [Trial.from_json(line) for line in whole[1:]]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{path}: {type(error).__name__}: {error}; move it away") from error

    def find(self, configuration: Configuration) -> Trial | None:
        """Return the trial of a configuration; None where it was not measured yet."""
        return next((trial for trial in self.trials if trial.configuration == configuration), None)

    def write(self, trial: Trial) -> None:
        """Add a trial; it is on the disk when this returns."""
        self._append(trial.as_json())
        self.trials.append(trial)

    def _append(self, document: Mapping[str, Any]) -> None:
        with self._path.open("ab") as file:
            file.write(json.dumps(document, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; what a killed writer left of its last line is cut off.

    Raises:
        ConfigurationError: Another line is no JSON.
    """
    if not path.is_file():
        return []
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with path.open("r+b") as file:
            file.truncate(end)
    try:
        return [dict(json.loads(line)) for line in content[:end].splitlines()]
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}; it is no record of a tuning: move it away") from error


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    for key, value in json.loads(json.dumps(wanted)).items():
        if found.get(key) != value:
            return f"{key} {json.dumps(found.get(key))} there, {json.dumps(value)} asked for"
    return "it says more"


def finite(value: Any) -> Any:
    """Return a value as JSON can have it: what is infinite is null."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> float:
    return math.inf if value is None else value
