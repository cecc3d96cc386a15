"""Which rollouts are run while controllers are killed: each strategy with each end that it can come to. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

from loadtest.controller_kills.feedback import OUTCOME

VERSIONS = 3
START = "start"
_CANDIDATE_PERCENT, _ARM_PERCENT = 30, 20
_MANY, _FEW = 0.8, 0.2
_ENOUGH = {"duration_s": 0.5, "min_requests": 50}

# What is asked of a rollout, by strategy; another strategy is another line here and in ``_ENDS``.
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "ab": {
        "steps": [{"weight_percent": _CANDIDATE_PERCENT, **_ENOUGH}],
        "experiment": {"outcome": {"name": OUTCOME}, "min_outcomes": 150, "on_win": "promote"},
    },
    "canary": {"steps": [{"weight_percent": 10, **_ENOUGH}, {"weight_percent": 50, **_ENOUGH}]},
    "blue-green": {
        "steps": [
            {"weight_percent": 0, "mirror_percent": 100, **_ENOUGH},
            {"weight_percent": 100, "mirror_percent": 50, **_ENOUGH},
        ]
    },
    "shadow": {"steps": [{"weight_percent": 0, "mirror_percent": 100, **_ENOUGH}]},
}


class End(StrEnum):
    """How a rollout is to end."""

    GOOD = "good"  # by good evidence
    BAD = "bad"  # by bad evidence
    ABORTED = "aborted"  # because a person says so
    HELD = "held"  # as good, after a person has paused it and let it go on
    BEATEN = "beaten"  # because stable's answers have the better outcomes


_EVERY = (End.GOOD, End.BAD, End.ABORTED, End.HELD)
_ENDS: Mapping[str, tuple[End, ...]] = {**dict.fromkeys(STRATEGIES, _EVERY), "ab": (*_EVERY, End.BEATEN)}
# What a person says, and in which phase.
_WORDS: Mapping[End, tuple[tuple[str, str], ...]] = {
    End.ABORTED: (("progressing", "abort"),),
    End.HELD: (("progressing", "pause"), ("paused", "resume")),
}


class Change(NamedTuple):
    """A change of a rollout's phase, or of its step within one."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True, slots=True)
class Case:
    """One strategy with one end."""

    strategy: str
    end: End

    @property
    def words(self) -> tuple[tuple[str, str], ...]:
        """What a person says: phases, and the verb in each."""
        return _WORDS.get(self.end, ())

    @property
    def phases(self) -> frozenset[str]:
        """The phases that it may end in: an abort that comes late finds that the evidence was enough."""
        good = "concluded" if self.strategy == "shadow" else "promoted"
        return {
            End.GOOD: frozenset({good}),
            End.BAD: frozenset({"rolled_back"}),
            End.ABORTED: frozenset({"aborted", good}),
            End.HELD: frozenset({good}),
            End.BEATEN: frozenset({"concluded"}),
        }[self.end]

    @property
    def changes(self) -> frozenset[Change]:
        """Every change on its way, where a person is in time."""
        steps = ["progressing"] * len(STRATEGIES[self.strategy]["steps"])
        good = ["concluding", "concluded"] if self.strategy == "shadow" else ["promoting", "promoted"]
        way = {
            End.GOOD: [*steps, *good],
            End.BAD: ["progressing", "rolling_back", "rolled_back"],
            End.ABORTED: ["progressing", "aborting", "aborted"],
            End.HELD: ["progressing", "paused", *steps, *good],
            End.BEATEN: [*steps, "concluding", "concluded"],
        }[self.end]
        return frozenset(Change(*both) for both in pairwise([START, "preparing", "warming", *way]))


CASES = tuple(Case(strategy, end) for strategy, ends in _ENDS.items() for end in ends)


@dataclass(frozen=True, slots=True)
class Cast:
    """Which version plays which part in a rollout.

    Attributes:
        stable: Answers when it begins.
        candidate: The version under rollout.
        arm: A further version of an A/B test; None without one.
        winner: The version that is promoted where one is.
        failing: Versions whose answers are failures.
        rates: Share of the good outcomes of each version's answers; empty where no outcomes are told.
    """

    stable: int
    candidate: int
    arm: int | None
    winner: int
    failing: frozenset[int]
    rates: Mapping[int, float]


def cast_of(case: Case, stable: int, choice: random.Random) -> Cast:
    """Return who plays what in a case; which challenger of an A/B test wins is left to chance.

    The one that fails would win by its outcomes: harm counts for more than a lift.
    """
    candidate, other = choice.sample([version for version in range(1, VERSIONS + 1) if version != stable], 2)
    is_ab = case.strategy == "ab"
    arm = other if is_ab and case.end is not End.ABORTED else None  # that one is a test of two versions
    winner = candidate if arm is None else choice.choice([candidate, arm])
    best = stable if case.end is End.BEATEN else winner
    rates = {version: _MANY if version == best else _FEW for version in (stable, candidate, other)}
    failing = frozenset({winner}) if case.end is End.BAD else frozenset[int]()
    return Cast(stable, candidate, arm, winner, failing, rates if is_ab else {})


def request_of(case: Case, cast: Cast, model: str, request_id: str) -> dict[str, Any]:
    """Return the body that asks for a rollout, as JSON-able values."""
    asked = {"strategy": case.strategy, "max_step_duration_s": 300.0, **STRATEGIES[case.strategy]}
    if cast.arm is not None:
        arms = [{"version": cast.arm, "weight_percent": _ARM_PERCENT}]
        asked["experiment"] = {**asked["experiment"], "arms": arms}
    return {"model": model, "version": cast.candidate, "actor": "kills", "request_id": request_id, **asked}


def changes_by_strategy(cases: Sequence[Case] = CASES) -> dict[str, frozenset[Change]]:
    """Return every change that a strategy can make in the cases."""
    return {
        strategy: frozenset[Change]().union(*(case.changes for case in cases if case.strategy == strategy))
        for strategy in STRATEGIES
    }
