"""The mix of predicted classes as bars. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.controller.dashboard import words
from services.core.counts.tally import Tally

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ClassBar:
    """One class: its share of each version's answers, 0 to 100, and in words."""

    label: str
    stable: float
    candidate: float
    stable_words: str
    candidate_words: str


@dataclass(frozen=True, slots=True)
class Mix:
    """The classes of one output, the most frequent first where there are many."""

    output: str
    stable_total: str
    candidate_total: str
    bars: tuple[ClassBar, ...]


def mixes_of(stable: Tally, candidate: Tally) -> tuple[Mix, ...]:
    """Return the mix of every output with classes."""
    outputs = sorted(stable.predictions.keys() | candidate.predictions.keys())
    return tuple(
        _mix(output, stable.predictions.get(output, ()), candidate.predictions.get(output, ())) for output in outputs
    )


def _mix(output: str, stable: tuple[int, ...], candidate: tuple[int, ...]) -> Mix:
    theirs, mine = sum(stable), sum(candidate)
    size = max(len(stable), len(candidate))
    counts = [(_at(stable, index), _at(candidate, index)) for index in range(size)]
    order = list(range(size))
    if size > _SHOWN:
        order.sort(key=lambda index: sum(counts[index]), reverse=True)
    bars = [_bar(f"class {index}", *counts[index], theirs, mine) for index in order[:_SHOWN]]
    rest = order[_SHOWN:]
    if rest:
        others = (sum(counts[index][0] for index in rest), sum(counts[index][1] for index in rest))
        bars.append(_bar(f"{len(rest)} others", *others, theirs, mine))
    return Mix(output, words.count(theirs), words.count(mine), tuple(bars))


def _at(counts: tuple[int, ...], index: int) -> int:
    return counts[index] if index < len(counts) else 0


def _bar(label: str, stable: int, candidate: int, theirs: int, mine: int) -> ClassBar:
    of_stable, of_candidate = (stable / theirs if theirs else 0.0), (candidate / mine if mine else 0.0)
    return ClassBar(label, 100 * of_stable, 100 * of_candidate, words.percent(of_stable), words.percent(of_candidate))
