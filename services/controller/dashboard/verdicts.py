"""A verdict as it is shown: each check, its sentence and all its numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.controller.dashboard import words
from services.core.analysis.verdict import Verdict

_TITLES = {
    "requests": "Enough answers",
    "stable": "Stable is well",
    "finite": "Finite answers",
    "errors": "Bad answers",
    "p99": "p99 latency",
    "slow": "Slow answers",
    "counts": "Counts",
}


@dataclass(frozen=True, slots=True)
class CheckView:
    """One check.

    Attributes:
        key: Unlike that of any other check here; part of an element's id.
        title: What was asked.
        outcome: The answer in one word.
        mark: Its sign.
        text: The answer in a sentence.
        numbers: Every number that it used.
    """

    key: str
    title: str
    outcome: str
    mark: str
    text: str
    numbers: tuple[tuple[str, str], ...]


def checks_of(verdict: Verdict | None) -> tuple[CheckView, ...]:
    """Return the checks in the order they were made."""
    if verdict is None:
        return ()
    return tuple(
        CheckView(
            f"check-{index}",
            title_of(check.name),
            check.outcome.value,
            words.mark(check.outcome.value),
            check.text,
            tuple(words.labelled(name, value) for name, value in check.numbers.items()),
        )
        for index, check in enumerate(verdict.checks)
    )


def title_of(name: str) -> str:
    """Return what a check is called."""
    kind, _, output = name.partition(":")
    if kind == "predictions" and output:
        return f"Mix of classes of {output}"
    if kind == "drift" and output:
        return f"Distribution: {output.replace(':', ' of ', 1)}"
    if kind == "lift" and output:
        return f"Outcomes of version {output}"
    base, _, version = name.partition(" of ")
    if version:
        return f"{_TITLES.get(base, base)} of version {version}"
    return _TITLES.get(name, name.replace("_", " ").capitalize())
