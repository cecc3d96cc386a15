"""Silence, lateness and failures, and who is blamed for them: no network, a clock that goes when told."""

from __future__ import annotations

import pytest

from services.core.errors import UpstreamFailure
from services.core.replica_address import ReplicaAddress
from services.triton.faults import NoAnswer
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.hang_watch import LOOK_EVERY_S, HangWatch
from services.triton.replicas.health import Reason
from services.triton.replicas.judge import Judge
from services.triton.replicas.replica import Pair, Replica, Version
from services.triton.replicas.roster import Roster
from services.triton.replicas.rules import rule_of
from services.triton.replicas.settings import ReplicaSettings
from tests.fakes.clock import FakeClock
from tests.fakes.replica_events import RecordedEvents

SETTINGS = ReplicaSettings(hang_after_s=0.75, hang_latencies=6.0)


class World:
    """Replicas r0, r1 and so on, with model m version 1 on each."""

    def __init__(self, count: int, settings: ReplicaSettings = SETTINGS) -> None:
        self.clock = FakeClock()
        self.events = RecordedEvents()
        self.asked: list[str] = []
        self.roster = Roster(
            settings, self.events, lambda at: Replica(at, settings, 8, 1 << 20, MergeSettings()), self.clock
        )
        self.roster.retarget([ReplicaAddress(f"r{i}", 1, 2) for i in range(count)], trusted=True)
        self.judge = Judge(self.roster)
        self.watch = HangWatch(self.roster, settings, lambda replica: self.asked.append(replica.name))
        self.version: Version = self.roster.version(("m", 1))

    def pair(self, number: int) -> Pair:
        return self.version.pairs[number]

    def begin(self, number: int) -> None:
        self.pair(number).begin(self.clock())

    def hear(self, *numbers: int) -> None:
        for number in numbers:
            pair, now = self.pair(number), self.clock()
            pair.heard_at = pair.waiting_since = pair.replica.heard_at = pair.replica.waiting_since = now
            pair.recovered()

    def usual(self, latency_s: float) -> None:
        for _ in range(100):
            self.version.latencies.observe(latency_s)

    def go(self, seconds: float, *heard: int) -> None:
        """Let time pass, with looks, while the replicas ``heard`` answer."""
        for _ in range(round(seconds / LOOK_EVERY_S)):
            self.clock.advance(LOOK_EVERY_S)
            self.hear(*heard)
            self.watch.look(self.clock())

    def fail(self, number: int, error: NoAnswer | UpstreamFailure, seconds: float) -> None:
        self.judge.failed(self.pair(number), rule_of(error), error, seconds, self.clock())

    @property
    def out(self) -> list[tuple[str, str | None]]:
        return [(replica, model) for replica, model, _, _ in self.events.ejections]


def test_a_silent_replica_is_asked_at_half_time_and_ejected_at_full_time() -> None:
    world = World(3)
    world.begin(0)
    world.go(0.3, 1, 2)
    assert not world.asked
    world.go(0.2, 1, 2)
    assert set(world.asked) == {"r0:1"}
    assert not world.out
    world.go(0.4, 1, 2)
    assert world.out == [("r0:1", None)]
    assert [pair.replica.name for pair in world.version.well] == ["r1:1", "r2:1"]


def test_a_replica_that_answers_anything_is_not_silent() -> None:
    world = World(2)
    world.begin(0)
    world.go(5.0, 0)
    assert not world.out


def test_when_everybody_is_silent_nobody_is_ejected() -> None:
    world = World(3)
    for i in range(3):
        world.begin(i)
    world.go(5.0)
    assert not world.out


def test_time_in_which_this_process_stood_still_is_nobodys_silence() -> None:
    world = World(2)
    world.begin(0)
    world.go(0.2)
    world.clock.advance(30.0)
    assert world.watch.look(world.clock()) > 29.0
    assert not world.out
    world.go(0.4)
    assert not world.out
    world.go(0.4)
    assert world.out == [("r0:1", None)]


def test_a_version_is_held_to_several_times_its_own_latency_and_only_where_that_is_known() -> None:
    world = World(2)
    world.begin(0)
    for _ in range(100):  # the replica says something, this version nothing
        world.clock.advance(LOOK_EVERY_S)
        world.pair(0).replica.waiting_since = world.clock()
        world.watch.look(world.clock())
    assert not world.out, "nobody knows how long this version takes"
    world.usual(1.0)
    world.pair(0).waiting_since = world.clock()
    for _ in range(90):
        world.clock.advance(LOOK_EVERY_S)
        world.pair(0).replica.waiting_since = world.clock()
        world.watch.look(world.clock())
        if world.out:
            break
    silent_s = world.clock() - world.pair(0).waiting_since
    assert world.out == [("r0:1", "m")]
    assert 6.0 <= silent_s <= 6.0 * 1.2 + LOOK_EVERY_S


def test_a_silent_replica_looks_slow_long_before_it_is_ejected() -> None:
    world = World(2)
    world.pair(0).latency_s = world.pair(1).latency_s = 0.001
    world.begin(0)
    world.go(0.3, 1)
    assert world.pair(0).latency_s > 0.2
    assert world.pair(1).latency_s <= 0.001


@pytest.mark.parametrize(("allowed_s", "ejected"), [(0.02, False), (1.0, True)])
def test_lateness_counts_only_where_the_attempt_had_a_fair_time(allowed_s: float, ejected: bool) -> None:
    world = World(2)
    world.usual(0.01)
    world.go(0.2, 0, 1)
    for _ in range(3):
        world.clock.advance(allowed_s)
        world.hear(1)
        world.fail(0, NoAnswer("late"), allowed_s)
    assert bool(world.out) == ejected


def test_lateness_counts_against_nobody_while_everybody_is_late() -> None:
    world = World(2)
    for _ in range(10):
        world.clock.advance(2.0)
        world.fail(0, NoAnswer("late"), 2.0)
        world.fail(1, NoAnswer("late"), 2.0)
    assert not world.out


def test_failures_of_a_model_count_where_it_does_better_elsewhere() -> None:
    world = World(3)
    world.hear(0, 1, 2)
    for _ in range(3):
        world.clock.advance(0.01)
        world.fail(0, UpstreamFailure("the model failed"), 0.01)
        world.clock.advance(0.01)
        world.hear(1)
    world.fail(0, UpstreamFailure("the model failed"), 0.01)
    assert world.out == [("r0:1", "m")]


def test_a_model_that_fails_now_and_then_everywhere_keeps_its_replicas() -> None:
    world = World(3)
    for step in range(300):
        world.clock.advance(0.01)
        number = step % 3
        if (step * 7919) % 10 < 5:
            world.fail(number, UpstreamFailure("the model failed"), 0.01)
        else:
            world.hear(number)
    assert not world.out


def test_a_replica_that_left_and_comes_back_at_once_is_the_same_one() -> None:
    world = World(2)
    before = world.roster.replicas["r0:1"]
    world.roster.retarget([ReplicaAddress("r1", 1, 2)], trusted=False)
    assert [pair.replica.name for pair in world.version.pairs] == ["r1:1"]
    assert [state.reason for state in world.roster.states()] == ["", "left"]
    world.roster.retarget([ReplicaAddress("r0", 1, 2), ReplicaAddress("r1", 1, 2)], trusted=False)
    assert world.roster.replicas["r0:1"] is before
    assert len(world.version.well) == 2


def test_a_new_replica_waits_for_its_probe_and_then_starts_slowly() -> None:
    world = World(1)
    world.roster.retarget([ReplicaAddress("r0", 1, 2), ReplicaAddress("r1", 1, 2)], trusted=False)
    new = world.roster.replicas["r1:1"]
    assert [pair.replica.name for pair in world.version.well] == ["r0:1"]
    world.roster.readmit(new)
    shares = [new.share]
    for _ in range(6):
        world.go(1.0)
        shares.append(new.share)
    assert shares[0] == pytest.approx(0.1)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert world.pair(1).share == 1.0


def test_few_are_well_when_most_replicas_are_out() -> None:
    world = World(3)
    assert not world.roster.few_are_well()
    for number, few in ((0, False), (1, True), (2, True)):
        world.roster.eject(world.pair(number).replica, Reason.HANG)
        assert world.roster.few_are_well() is few
    assert not World(1).roster.few_are_well()
