"""What must hold of the routes of rollouts whose controllers are killed: each break is found."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.controller_kills.invariants import broken_end, broken_sightings, splits_by_candidate
from loadtest.controller_kills.worker import Sighting, Split

AB = {
    "id": "digits-1",
    "model": "digits",
    "stable": 1,
    "candidate": 2,
    "phase": "promoted",
    "spec": {"experiment": {"arms": [{"version": 3, "weight_percent": 20}]}},
}
LINES = [
    {"target": "preparing", "target_weight_percent": 0},
    {"target": "progressing", "target_weight_percent": 30},
    {"target": "promoting", "target_weight_percent": 100},
]
ALL = frozenset({1, 2, 3})


def sighting(weight: int = 30, arm: int = 3, arm_weight: int = 20, loaded: frozenset[int] = ALL) -> Sighting:
    return Sighting("digits", 2, Split(weight, ((arm, arm_weight),)), frozenset({1, 2}), loaded)


def test_the_split_of_a_stored_test_may_be_served() -> None:
    assert broken_sightings([sighting()], splits_by_candidate([(AB, LINES)])) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (sighting(weight=100), "is in no stored history"),
        (sighting(arm_weight=30), "version 2 at 30 %, version 3 at 30 % was served and is in no stored history"),
        (sighting(arm=4), "is in no stored history"),
        (sighting()._replace(split=Split(30, ())), "is in no stored history"),
        (sighting(loaded=frozenset({1, 2})), "while [1, 2] were loaded"),
    ],
    ids=["weight", "weight of an arm", "arm", "no arm", "not loaded"],
)
def test_another_split_is_found_and_so_is_an_arm_that_is_not_loaded(seen: Sighting, words: str) -> None:
    assert any(words in line for line in broken_sightings([seen], splits_by_candidate([(AB, LINES)])))


def record(stable: int, candidate: int | None, action: str = "route", outcome: str = "done") -> dict[str, Any]:
    return {"action": action, "outcome": outcome, "target": {"stable": stable, "candidate": candidate}}


@pytest.mark.parametrize(
    ("phase", "records", "right"),
    [
        ("promoted", [record(1, 2), record(3, None)], True),
        ("promoted", [record(1, 2), record(2, None)], False),
        ("promoted", [record(3, None), record(1, 2)], False),
        ("promoted", [record(3, None, outcome="refused")], False),
        ("promoted", [record(3, None, action="promote")], False),
        ("rolled_back", [record(1, 2), record(1, None)], True),
        ("rolled_back", [record(1, 2), record(3, None)], False),
        ("aborted", [], False),
    ],
)
def test_the_winner_alone_is_routed_after_a_promotion_and_stable_after_anything_else(
    phase: str, records: list[dict[str, Any]], *, right: bool
) -> None:
    assert (broken_end({**AB, "phase": phase}, records, winner=3) == []) == right
