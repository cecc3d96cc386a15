"""The pure parts of dealing with replicas: budget, choice, health, poison, sequences, latencies."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PenstockError,
    Unavailable,
    UpstreamFailure,
)
from services.core.inference import InferRequest, RequestedOutput
from services.core.tensor import Tensor
from services.triton import faults
from services.triton.replicas.balance import choose, ranked, smoothed
from services.triton.replicas.budget import RetryBudget
from services.triton.replicas.health import Health, Reason
from services.triton.replicas.hedge import hedge_after_s
from services.triton.replicas.latency import MIN_OBSERVATIONS, LatencySketch
from services.triton.replicas.poison import PoisonMemory, digest_of
from services.triton.replicas.rules import Scope, rule_of
from services.triton.replicas.sequences import SequenceMemory

# The budget: steps of (requests, seconds, attempts wanted).
_STEPS = st.lists(st.tuples(st.integers(0, 50), st.floats(0, 3), st.integers(0, 60)), max_size=40)


@given(_STEPS, st.sampled_from([0.0, 0.1, 0.2, 1.0]), st.sampled_from([0.0, 3.0]), st.integers(1, 30))
def test_second_attempts_never_exceed_their_share(
    steps: list[tuple[int, float, int]], share: float, per_s: float, burst: int
) -> None:
    budget, now, allowed, requests = RetryBudget(share, per_s, burst, 0.0), 0.0, 0, 0
    for more, seconds, wanted in steps:
        budget.requests += more
        requests += more
        now += seconds
        at_once = sum(budget.take(now) for _ in range(wanted))
        assert at_once <= burst + per_s
        allowed += at_once
        assert allowed <= share * requests + per_s * (now + 1) + 1e-6


def test_second_attempts_help_at_low_traffic_and_after_much_of_it() -> None:
    budget = RetryBudget(0.2, 2.0, 100, 0.0)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]
    assert budget.take(0.5)
    budget.requests += 1000
    assert sum(budget.take(0.5) for _ in range(300)) == 100


@dataclass
class Place:
    """A replica as a choice sees it."""

    in_flight: int = 0


@dataclass
class One:
    """A version on it."""

    latency_s: float = 0.01
    share: float = 1.0
    replica: Place = field(default_factory=Place)


def picks(candidates: list[One], seed: int = 0, count: int = 3000) -> Counter[int]:
    draw = random.Random(seed).random
    places = {id(candidate): i for i, candidate in enumerate(candidates)}
    return Counter(places[id(choose(candidates, draw))] for _ in range(count))


def test_equals_get_equal_parts() -> None:
    found = picks([One(), One(), One()])
    assert all(800 < found[i] < 1200 for i in range(3))


def test_the_most_loaded_of_several_gets_nothing_and_the_slowest_neither() -> None:
    assert picks([One(replica=Place(3)), One(), One()])[0] == 0
    assert picks([One(latency_s=0.05), One(), One()])[0] == 0
    assert picks([One()])[0] == 3000


def test_a_slow_start_gets_its_share_of_a_fair_share() -> None:
    assert 60 < picks([One(share=0.1), One(), One()])[0] < 160
    assert 350 < picks([One(share=0.5), One(), One()])[0] < 650


@given(
    st.lists(st.tuples(st.integers(0, 20), st.floats(1e-5, 10), st.floats(0, 1)), min_size=1, max_size=6), st.integers()
)
def test_somebody_is_always_chosen(parts: list[tuple[int, float, float]], seed: int) -> None:
    candidates = [One(latency_s, share, Place(load)) for load, latency_s, share in parts]
    assert choose(candidates, random.Random(seed).random) in candidates


@given(st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=50), st.floats(0, 2))
def test_a_smoothed_latency_stays_between_what_was_seen(seen: list[float], gap_s: float) -> None:
    latency_s = 0.0
    for seconds in seen:
        latency_s = smoothed(latency_s, seconds, gap_s)
        assert min(seen) - 1e-12 <= latency_s <= max(seen) + 1e-12


def test_a_latency_follows_within_a_second_or_so() -> None:
    latency_s = 0.001
    for _ in range(300):
        latency_s = smoothed(latency_s, 0.1, 0.01)
    assert 0.09 < latency_s <= 0.1
    assert smoothed(latency_s, 0.001, 60.0) == 0.001


def test_a_sequence_keeps_its_order_of_replicas_when_others_come_and_go() -> None:
    names = [f"r{i}" for i in range(5)]
    for key in map(str, range(200)):
        order = ranked(key, names)
        assert ranked(key, [n for n in names if n != order[2]]) == [n for n in order if n != order[2]]
    first = Counter(ranked(str(i), names)[0] for i in range(2000))
    assert all(300 < first[name] < 500 for name in names)


def health() -> Health:
    return Health(eject_after=3, ejection_s=1.0, max_ejection_s=8.0, forgive_after_s=60.0)


def test_only_failures_in_a_row_eject() -> None:
    one = health()
    assert not one.failed(Reason.BROKEN, 0.0)
    assert not one.failed(Reason.BROKEN, 0.0)
    one.failures = 0
    assert not one.failed(Reason.BROKEN, 0.0)
    one.failed(Reason.BROKEN, 0.0)
    assert one.failed(Reason.BROKEN, 0.0)
    assert (one.healthy, one.reason) == (False, Reason.BROKEN)
    assert not one.failed(Reason.BROKEN, 0.0), "it is out already"


def test_repeat_offenders_wait_twice_as_long_until_they_behave() -> None:
    one, now, waits = health(), 100.0, []
    for _ in range(6):
        assert one.eject(Reason.HANG, now)
        waits.append(one.until - now)
        assert not one.due(one.until - 0.01)
        now = one.until
        assert one.due(now)
        one.readmit(now)
        now += 1.0
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert one.eject(Reason.HANG, now + 60.0)
    assert one.until == now + 61.0


@pytest.mark.parametrize("reason", [Reason.CONNECT, Reason.NOT_READY, Reason.NOT_LOADED])
def test_being_restarted_often_is_no_offence(reason: Reason) -> None:
    one, now = health(), 100.0
    for _ in range(6):
        assert one.eject(reason, now)
        assert one.until == now + 1.0
        now = one.until
        one.readmit(now)
    one.eject(Reason.HANG, now)
    assert one.until == now + 1.0


def test_an_offender_that_is_needed_waits_no_longer_than_a_first_one() -> None:
    one, now = health(), 100.0
    for _ in range(4):
        one.eject(Reason.HANG, now)
        one.readmit(now)
    one.eject(Reason.HANG, now)
    assert not one.due(now + 1.0)
    assert not one.due(now + 0.99, needed=True)
    assert one.due(now + 1.0, needed=True)


def test_on_trial_one_failure_is_enough() -> None:
    one = health()
    one.eject(Reason.INTERNAL, 0.0)
    one.readmit(1.0, on_trial=True)
    assert one.failed(Reason.INTERNAL, 1.0)


def test_a_new_replica_waits_for_a_probe_and_is_no_offender() -> None:
    one = health()
    one.await_probe()
    assert not one.healthy
    assert one.due(0.0)
    one.readmit(0.0)
    one.eject(Reason.CONNECT, 1.0)
    assert one.until == 2.0


@pytest.mark.parametrize(
    ("error", "scope", "again", "unsent"),
    [
        (faults.NotSent(""), Scope.REPLICA, True, True),
        (faults.AllBusy(""), Scope.NOTHING, True, True),
        (faults.Broken(""), Scope.REPLICA, True, False),
        (faults.GivenUp(""), Scope.NOTHING, True, False),
        (faults.NoAnswer(""), Scope.VERSION, True, False),
        (faults.NotLoaded(""), Scope.VERSION, True, False),
        (faults.ModelProcessDied(""), Scope.VERSION, True, False),
        (faults.Nonsense(""), Scope.VERSION, True, False),
        (UpstreamFailure(""), Scope.VERSION, False, False),
        (NotFound(""), Scope.VERSION, True, False),
        (Overloaded(""), Scope.NOTHING, True, False),
        (Unavailable(""), Scope.VERSION, True, False),
        (DeadlineExceeded(""), Scope.NOTHING, False, False),
        (InvalidRequest(""), Scope.NOTHING, False, False),
        (PenstockError(""), Scope.NOTHING, False, False),
    ],
)
def test_every_end_of_an_attempt_has_its_rule(error: PenstockError, scope: Scope, again: bool, unsent: bool) -> None:
    rule = rule_of(error)
    assert (rule.scope, rule.again, rule.unsent) == (scope, again, unsent)


def asked(data: bytes = b"\x01", **more: object) -> InferRequest:
    return InferRequest("m", inputs=[Tensor("X", "INT8", (len(data),), data)], **more)  # type: ignore[arg-type]


def test_a_digest_tells_requests_apart_and_not_their_ids() -> None:
    assert digest_of(asked(id="1"), 1) == digest_of(asked(id="2"), 1)
    assert digest_of(asked(), 1) != digest_of(asked(), 2)
    assert digest_of(asked(), 1) != digest_of(asked(b"\x02"), 1)
    assert digest_of(asked(), 1) != digest_of(asked(outputs=[RequestedOutput("Y", 3)]), 1)
    large = bytes(2_000_000)
    assert digest_of(asked(large), 1) != digest_of(asked(large[:-1] + b"\x01"), 1)
    assert digest_of(asked(large), 1) != digest_of(asked(large + b"\x00"), 1)
    assert digest_of(asked(b""), 1) == digest_of(asked(b""), 1)
    assert digest_of(InferRequest("\ud800"), 1) != digest_of(InferRequest("m"), 1)


def test_poison_is_refused_for_a_time_and_only_so_much_of_it_is_remembered() -> None:
    memory = PoisonMemory(60.0, 3)
    assert not memory
    assert all(memory.remember(bytes([i]), float(i)) for i in range(5))
    assert [memory.holds(bytes([i]), 5.0) for i in range(5)] == [False, False, True, True, True]
    assert not memory.holds(b"\x02", 62.0)
    assert memory.holds(b"\x04", 62.0)
    memory.forget(100.0)
    assert not memory


def test_what_was_answered_lately_is_no_poison() -> None:
    memory = PoisonMemory(60.0, 3)
    memory.answered(b"x", 0.0)
    assert not memory.remember(b"x", 30.0)
    assert memory.remember(b"x", 61.0)


def test_the_longest_unused_sequence_is_forgotten_first() -> None:
    memory: SequenceMemory[str] = SequenceMemory(2)
    memory.put(("m", 1, "a"), "A")
    memory.put(("m", 1, "b"), "B")
    assert memory.get(("m", 1, "a")) == "A"
    memory.put(("m", 1, "c"), "C")
    assert memory.get(("m", 1, "b")) is None
    assert (memory.get(("m", 1, "a")), memory.get(("m", 1, "c"))) == ("A", "C")
    memory.drop(("m", 1, "a"))
    assert len(memory) == 1


@given(st.lists(st.floats(1e-4, 100.0), min_size=MIN_OBSERVATIONS, max_size=300), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_of_the_sketch_is_at_most_a_fifth_too_high_and_never_too_low(seen: list[float], q: float) -> None:
    sketch = LatencySketch()
    for seconds in seen:
        sketch.observe(seconds)
    found = sketch.quantile(q)
    assert found is not None
    exact = sorted(seen)[max(0, -int(-q * len(seen) // 1) - 1)]
    assert exact <= found <= max(exact * 1.2, 2.0**-13)


def test_few_latencies_say_nothing_and_old_ones_are_forgotten() -> None:
    sketch = LatencySketch()
    for _ in range(MIN_OBSERVATIONS - 1):
        sketch.observe(1.0)
    assert sketch.quantile(0.99) is None
    assert hedge_after_s(sketch, 0.005) == float("inf")
    sketch.observe(1.0)
    assert hedge_after_s(sketch, 0.005) == 1.0
    assert hedge_after_s(sketch, 3.0) == 3.0
    sketch.begin_period()
    assert sketch.quantile(0.99) == 1.0
    sketch.begin_period()
    assert sketch.quantile(0.99) is None
