import pytest

from services.controller.gateways.fleet import Fleet, Report
from services.core.counts.tally import Tally
from services.core.errors import Overloaded
from services.core.rollouts.evidence import Evidence
from services.core.route import Role
from tests.fakes.clock import FakeClock

NEWEST = 20


def report(instance: str, sequence: int = 1, generation: int = 5, requests: int = 0) -> Report:
    return Report(instance, sequence, generation, {("m", 1, Role.STABLE): Tally(requests)})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fleet(clock: FakeClock) -> Fleet:
    return Fleet(clock, lambda: NEWEST, stale_after_s=10.0, max_workers=3)


def test_a_worker_that_falls_silent_is_forgotten(fleet: Fleet, clock: FakeClock) -> None:
    fleet.report(report("a"))
    clock.advance(6)
    fleet.report(report("b"))
    clock.advance(6)
    assert fleet.live() == {"b"}
    assert fleet.sightings("m", 1, 2).keys() == {"b"}


def test_only_routed_roles_of_the_two_versions_are_seen(fleet: Fleet) -> None:
    tallies = {
        ("m", 1, Role.STABLE): Tally(10),
        ("m", 1, Role.PINNED): Tally(500),
        ("m", 2, Role.CANDIDATE): Tally(3),
        ("m", 2, Role.STABLE): Tally(700),
        ("other", 1, Role.STABLE): Tally(900),
    }
    fleet.report(Report("a", 1, 5, tallies))
    seen = fleet.sightings("m", 1, 2)["a"]
    assert (seen.stable.requests, seen.candidate.requests) == (10, 3)


def test_an_older_report_changes_nothing(fleet: Fleet) -> None:
    fleet.report(report("a", sequence=2, generation=7, requests=20))
    fleet.report(report("a", sequence=1, generation=5, requests=10))
    assert fleet.sightings("m", 1, 2)["a"].stable.requests == 20
    assert fleet.lagging(7) == frozenset()


def test_the_number_of_workers_is_bounded_and_a_silent_one_makes_room(fleet: Fleet, clock: FakeClock) -> None:
    for instance in "abc":
        fleet.report(report(instance))
    with pytest.raises(Overloaded, match="limit"):
        fleet.report(report("d"))
    fleet.report(report("a", sequence=2))
    clock.advance(11)
    fleet.report(report("d"))
    assert fleet.live() == {"d"}


def test_a_table_is_let_go_of_when_every_worker_has_served_without_it_for_a_while(
    fleet: Fleet, clock: FakeClock
) -> None:
    clock.advance(10)
    fleet.report(report("a", generation=5))
    fleet.report(report("b", generation=6))
    assert fleet.lagging(6) == {"a"}
    assert not fleet.has_let_go(6, linger_s=2)
    fleet.report(report("a", sequence=2, generation=6))
    assert not fleet.has_let_go(6, linger_s=2)
    clock.advance(2)
    assert fleet.has_let_go(6, linger_s=2)


def test_a_worker_that_lags_and_hesitates_has_not_let_go(fleet: Fleet, clock: FakeClock) -> None:
    clock.advance(10)
    fleet.report(report("a", generation=5))
    clock.advance(9)
    assert not fleet.has_let_go(6, linger_s=2)


def test_other_tables_do_not_begin_the_wait_anew(fleet: Fleet, clock: FakeClock) -> None:
    clock.advance(10)
    for generation in range(6, 20):
        fleet.report(report("a", sequence=generation, generation=generation))
        clock.advance(1)
    assert fleet.has_let_go(6, linger_s=5)
    assert not fleet.has_let_go(18, linger_s=5)


def test_right_after_a_start_no_silence_means_that_all_have_let_go(fleet: Fleet, clock: FakeClock) -> None:
    assert not fleet.has_let_go(6, linger_s=0)
    clock.advance(10)
    assert fleet.has_let_go(6, linger_s=0)


def test_workers_known_before_a_restart_count_as_alive_and_as_lagging_until_they_report(
    fleet: Fleet, clock: FakeClock
) -> None:
    fleet.expect(["a"])
    assert fleet.live() == {"a"}
    assert fleet.lagging(1) == {"a"}
    assert fleet.sightings("m", 1, 2) == {}
    clock.advance(11)
    assert fleet.live() == frozenset()


def test_a_table_of_another_database_is_lagging_and_what_is_answered_under_it_is_no_evidence(
    fleet: Fleet, clock: FakeClock
) -> None:
    evidence = Evidence()

    def absorbed(sequence: int, generation: int, requests: int) -> int:
        nonlocal evidence
        fleet.report(report("a", sequence, generation, requests))
        evidence = evidence.absorb(fleet.sightings("m", 1, 2), fleet.live(), since_generation=6)
        return evidence.stable.requests

    clock.advance(10)
    assert absorbed(1, 6, 100) == 0
    assert absorbed(2, NEWEST + 1, 130) == 0
    assert absorbed(3, NEWEST + 1, 180) == 0
    assert fleet.lagging(6) == {"a"}
    assert not fleet.has_let_go(6, linger_s=0)
    assert absorbed(4, 6, 200) == 0
    assert absorbed(5, 6, 207) == 7
    assert fleet.lagging(6) == frozenset()


def test_the_wait_for_a_table_begins_when_it_is_served_and_not_with_one_of_another_database(
    fleet: Fleet, clock: FakeClock
) -> None:
    clock.advance(10)
    fleet.report(report("a", 1, NEWEST + 1))
    clock.advance(5)
    fleet.report(report("a", 2, 7))
    assert not fleet.has_let_go(6, linger_s=2)
    clock.advance(2)
    assert fleet.has_let_go(6, linger_s=2)


def test_a_model_that_a_worker_has_no_room_to_count_is_not_seen_and_the_worker_is_named(
    fleet: Fleet, clock: FakeClock
) -> None:
    fleet.report(report("a", requests=10))
    fleet.report(report("b", requests=10))
    clock.advance(5)
    fleet.report(report("a", 2, requests=30))
    fleet.report(Report("b", 2, 5, {}, {}, frozenset({"m"})))
    assert fleet.sightings("m", 1, 2).keys() == {"a"}
    assert fleet.sightings("other", 1, 2).keys() == {"a", "b"}
    assert fleet.uncounted("m").keys() == {"b"}
    assert fleet.uncounted("other") == {}
    assert fleet.lagging(5) == frozenset(), "it serves all the same"
    seen, seconds = fleet.recent.answered("m", 1, Role.STABLE)
    assert (seen.requests, seconds) == (20, 5)


def test_a_worker_that_was_known_before_a_restart_is_not_counted_until_it_reports(fleet: Fleet) -> None:
    fleet.expect(["a"])
    assert fleet.uncounted("m").keys() == {"a"}
    fleet.report(report("a"))
    assert fleet.uncounted("m") == {}
