"""Which rollouts are run while controllers are killed, and after which of their changes."""

from __future__ import annotations

import random

import pytest

from loadtest.controller_kills.coverage import Coverage
from loadtest.controller_kills.scenarios import (
    CASES,
    START,
    Case,
    Change,
    End,
    cast_of,
    changes_by_strategy,
    request_of,
)
from loadtest.controller_kills.watched import Watched
from services.controller.api.rest_models import StartModel
from services.core.rollouts.rollout import Phase
from services.core.rollouts.transitions import TRANSITIONS

ROWS = {Change(row.source.value, row.target.value) for row in TRANSITIONS} | {Change(START, Phase.PREPARING.value)}


def test_every_change_of_every_case_is_in_the_transition_table() -> None:
    for strategy, changes in changes_by_strategy().items():
        assert changes <= ROWS, strategy
    assert Change("progressing", "concluding") in changes_by_strategy()["ab"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.strategy}-{case.end}")
@pytest.mark.parametrize("stable", [1, 2, 3])
def test_what_is_asked_for_is_a_valid_rollout_of_versions_that_are_published(case: Case, stable: int) -> None:
    cast = cast_of(case, stable, random.Random(1))
    spec = StartModel.model_validate(request_of(case, cast, "alpha", "once")).spec()
    versions = {stable, *spec.challengers}
    assert len(versions) == 1 + len(spec.challengers)
    assert versions <= {1, 2, 3}
    assert cast.winner in spec.challengers
    assert cast.failing <= set(spec.challengers)
    assert bool(cast.failing) == (case.end is End.BAD)
    assert (spec.experiment is not None) == (versions <= cast.rates.keys())


def test_an_ab_test_has_two_or_three_versions_and_any_challenger_may_win() -> None:
    ended = {end: [cast_of(Case("ab", end), 1, random.Random(seed)) for seed in range(20)] for end in End}
    assert {cast.arm for cast in ended[End.ABORTED]} == {None}
    assert {cast.winner == cast.candidate for cast in ended[End.GOOD]} == {True, False}
    for cast in ended[End.GOOD]:
        assert max(cast.rates, key=lambda version: cast.rates[version]) == cast.winner
    for cast in ended[End.BEATEN]:
        assert max(cast.rates, key=lambda version: cast.rates[version]) == 1


def test_a_kill_is_wanted_after_the_change_that_has_had_the_fewest() -> None:
    coverage = Coverage()
    changes = sorted(changes_by_strategy()["shadow"])
    for change in changes[1:]:
        assert coverage.is_rarest("shadow", change)
        coverage.add("shadow", change)
        assert not coverage.is_rarest("shadow", change)
    assert [line for line in coverage.never() if line.startswith("shadow")] == [f"shadow: {changes[0]}"]
    coverage.add("shadow", changes[0])
    assert all(coverage.is_rarest("shadow", change) for change in changes)


def test_a_change_that_one_database_missed_is_covered_where_the_other_had_it() -> None:
    one, other = Coverage(), Coverage()
    for strategy, changes in changes_by_strategy().items():
        for number, change in enumerate(sorted(changes)):
            (one if number % 2 else other).add(strategy, change)
    assert one.never()
    assert other.never()
    assert Coverage.merged([one, other]).never() == []


def test_every_case_is_begun_before_any_is_begun_again_and_then_those_with_changes_to_catch() -> None:
    coverage = Coverage()
    assert {coverage.next_case() for _ in CASES} == set(CASES)
    for strategy, changes in changes_by_strategy().items():
        for change in changes - {Change("progressing", "concluding")}:
            coverage.add(strategy, change)
    coverage.add("shadow", Change("progressing", "concluding"))
    assert coverage.next_case() == Case("ab", End.BEATEN)


def test_a_person_says_what_fits_the_phase_also_when_an_answer_was_lost() -> None:
    watched = Watched("alpha", Case("ab", End.HELD), "once")
    assert watched.next_word() is None
    watched.place = ("progressing", 1)
    assert watched.next_word() == (0, "pause")
    watched.place = ("paused", 1)
    assert watched.next_word() == (1, "resume"), "the answer to the pause was lost, and it was obeyed"
    watched.said, watched.place = 2, ("progressing", 1)
    assert watched.next_word() is None
