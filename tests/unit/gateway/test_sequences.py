"""A running sequence keeps its version while that takes part in the routing."""

from __future__ import annotations

from services.core.route import Role, Route
from services.gateway.routes import Choice
from services.gateway.sequences import SequencePins

VERSIONS = frozenset({1, 2})
STABLE = Choice(1, Role.STABLE)
CANDIDATE = Choice(2, Role.CANDIDATE)


def route(stable: int = 1, candidate: int | None = 2, weight: int = 50) -> Route:
    return Route("m", stable, candidate, weight if candidate else 0, VERSIONS)


def test_a_raised_weight_does_not_move_a_running_sequence() -> None:
    pins = SequencePins()
    assert pins.choose(route(weight=5), "a", STABLE, start=True, end=False) == STABLE
    assert pins.choose(route(weight=100), "a", CANDIDATE, start=False, end=False) == STABLE


def test_a_promoted_version_keeps_its_sequences_under_its_new_role() -> None:
    pins = SequencePins()
    assert pins.choose(route(), "a", CANDIDATE, start=True, end=False) == CANDIDATE
    promoted = route(stable=2, candidate=None)
    assert pins.choose(promoted, "a", Choice(2, Role.STABLE), start=False, end=False) == Choice(2, Role.STABLE)


def test_a_version_that_is_rolled_back_loses_its_sequences() -> None:
    pins = SequencePins()
    pins.choose(route(), "a", CANDIDATE, start=True, end=False)
    assert pins.choose(route(candidate=None), "a", STABLE, start=False, end=False) == STABLE


def test_a_new_start_and_an_end_forget_the_old_sequence() -> None:
    pins = SequencePins()
    pins.choose(route(), "a", STABLE, start=True, end=False)
    assert pins.choose(route(), "a", CANDIDATE, start=True, end=False) == CANDIDATE
    assert pins.choose(route(), "a", STABLE, start=False, end=True) == CANDIDATE
    assert len(pins) == 0
    assert pins.choose(route(), "a", STABLE, start=False, end=False) == STABLE


def test_sequences_of_two_models_with_one_id_are_two() -> None:
    pins = SequencePins()
    pins.choose(route(), "a", STABLE, start=True, end=False)
    other = Route("n", 1, 2, 50, VERSIONS)
    assert pins.choose(other, "a", CANDIDATE, start=False, end=False) == CANDIDATE


def test_sequences_that_never_end_do_not_fill_the_memory() -> None:
    pins = SequencePins(most=10)
    for number in range(100):
        pins.choose(route(), str(number), STABLE, start=True, end=False)
    assert len(pins) == 10
