"""The parts of the answered requests' time add up to it, whoever else uses Triton and however often it begins anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import UpstreamFailure
from services.gateway.metrics.time_split import GatewayTimes, TimeSplit
from services.gateway.metrics.triton_times import ReplicaTimes, TritonTimes, times_of
from services.gateway.metrics.vocabulary import PARTS

KEY = ("digits", "1")
MS = 1_000_000


def ours(count: int, exchange: int = 10 * MS) -> GatewayTimes:
    """Return the sums of requests that took 14 ms each, ``exchange`` of it with Triton."""
    each = GatewayTimes(1, 4 * MS + exchange, MS, MS, exchange + MS, MS, exchange)
    return GatewayTimes(*(count * value for value in each))


def theirs(count: int, queue: int = 3 * MS, compute: int = 4 * MS, other: int = MS) -> TritonTimes:
    """Return Triton's sums of as many requests."""
    return TritonTimes(count, count * (queue + compute + other), count * queue, count * compute)


def test_every_part_has_its_share_and_together_they_are_the_whole() -> None:
    split = TimeSplit()
    split.settle({KEY: ours(100)}, {KEY: theirs(100)})
    assert split.shown() == {
        KEY: {
            "edge": pytest.approx(0.1),
            "admission": pytest.approx(0.1),
            "gateway": pytest.approx(0.1),
            "network": pytest.approx(0.2),
            "triton_queue": pytest.approx(0.3),
            "triton_compute": pytest.approx(0.4),
            "answer": pytest.approx(0.1),
            "unexplained": pytest.approx(0.1),
        }
    }


def test_sums_that_are_kept_no_longer_take_nothing_away() -> None:
    split = TimeSplit()
    split.settle({KEY: ours(100)}, {KEY: theirs(100)})
    split.settle({}, {KEY: theirs(100)})
    split.settle({KEY: ours(10)}, {KEY: theirs(110)})
    assert split.shown()[KEY]["edge"] == pytest.approx(0.11)
    assert split.shown()[KEY]["triton_compute"] == pytest.approx(0.44)


def test_requests_that_others_send_to_triton_are_not_ours() -> None:
    split = TimeSplit()
    split.settle({KEY: ours(100)}, {KEY: theirs(300)})
    assert split.shown()[KEY]["triton_compute"] == pytest.approx(0.4)
    assert split.shown()[KEY]["network"] == pytest.approx(0.2)


def test_long_use_by_others_alone_says_nothing_about_our_next_request() -> None:
    split, triton = TimeSplit(), theirs(1)
    split.settle({KEY: ours(1)}, {KEY: triton})
    for _ in range(10):
        triton = triton.plus(theirs(1000, compute=40 * MS))
        split.settle({KEY: ours(1)}, {KEY: triton})
    split.settle({KEY: ours(1)}, {KEY: triton})
    split.settle({KEY: ours(2)}, {KEY: triton.plus(theirs(1))})
    assert split.shown()[KEY]["triton_compute"] == pytest.approx(0.008)


def test_what_others_did_before_our_first_request_is_not_in_it() -> None:
    split, triton = TimeSplit(), theirs(1000, compute=40 * MS)
    for _ in range(3):
        split.settle({}, {KEY: triton})
    split.settle({KEY: ours(1)}, {KEY: triton.plus(theirs(1))})
    assert split.shown()[KEY]["triton_compute"] == pytest.approx(0.004)


def test_a_request_counted_there_before_here_waits_for_its_other_half() -> None:
    split = TimeSplit()
    split.settle({KEY: GatewayTimes()}, {KEY: theirs(1)})
    assert split.shown() == {}
    split.settle({KEY: ours(1)}, {KEY: theirs(1)})
    assert split.shown()[KEY]["triton_queue"] == pytest.approx(0.003)


def test_without_triton_s_statistics_the_exchange_is_unexplained() -> None:
    split = TimeSplit()
    for look in range(1, 8):
        split.settle({KEY: ours(10 * look)}, {})
    parts = split.shown()[KEY]
    settled = sum(parts.values())
    assert settled > 0
    assert parts["unexplained"] == pytest.approx(settled * 10 / 14)
    assert parts["triton_compute"] == parts["network"] == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 20 * MS), st.integers(0, 12 * MS)), max_size=30
    )
)
def test_no_part_ever_goes_down(steps: list[tuple[int, int, int, int]]) -> None:
    split, gateway, triton = TimeSplit(), GatewayTimes(), TritonTimes()
    last = dict.fromkeys(PARTS, 0.0)
    for answered, counted, exchange, compute in steps:
        gateway = GatewayTimes(*(a + b for a, b in zip(gateway, ours(answered, exchange), strict=True)))
        triton = triton.plus(theirs(counted, compute=compute))
        split.settle({KEY: gateway}, {KEY: triton})
        shown = split.shown().get(KEY, last)
        assert all(shown[part] >= last[part] for part in last)
        last = shown


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 8 * MS)), min_size=1, max_size=30))
def test_with_both_sides_complete_the_parts_add_up_exactly(steps: list[tuple[int, int]]) -> None:
    split, gateway, triton = TimeSplit(), GatewayTimes(), TritonTimes()
    for count, compute in steps:
        gateway = GatewayTimes(*(a + b for a, b in zip(gateway, ours(count, compute + 6 * MS), strict=True)))
        triton = triton.plus(theirs(count, compute=compute))
        split.settle({KEY: gateway}, {KEY: triton})
    assert sum(split.shown()[KEY].values()) == pytest.approx(gateway.whole / 1e9)


def test_a_replica_that_begins_anew_adds_to_what_it_had() -> None:
    replicas = ReplicaTimes()
    replicas.take("a", {KEY: theirs(1000)})  # what came before us
    replicas.take("a", {KEY: theirs(1010)})
    assert replicas.totals[KEY] == theirs(10)
    replicas.take("a", {KEY: theirs(4)})  # it was killed and started again
    assert replicas.totals[KEY] == theirs(14)
    replicas.take("a", {KEY: theirs(5), ("new", "1"): theirs(2)})  # a version that was loaded meanwhile
    assert replicas.totals == {KEY: theirs(15), ("new", "1"): theirs(2)}


def test_replicas_add_up_and_one_that_leaves_takes_nothing_with_it() -> None:
    replicas = ReplicaTimes()
    for name in ("a", "b"):
        replicas.take(name, {KEY: theirs(5)})
        replicas.take(name, {KEY: theirs(8)})
    assert replicas.totals[KEY] == theirs(6)
    replicas.retain({"b"})
    assert replicas.totals[KEY] == theirs(6)
    replicas.take("a", {KEY: theirs(100)})  # back again: where it begins now is not ours
    assert replicas.totals[KEY] == theirs(6)


def test_statistics_are_read_as_triton_writes_them() -> None:
    def of(count: int, ns: int) -> dict[str, int]:
        return {"count": count, "ns": ns}

    stats = {"success": of(4, 900), "fail": of(2, 70), "queue": of(4, 300), "cache_hit": of(1, 5)}
    stats |= {"compute_input": of(4, 10), "compute_infer": of(4, 500), "compute_output": of(4, 20)}
    document = {"model_stats": [{"name": "digits", "version": "1", "inference_count": 9, "inference_stats": stats}]}
    assert times_of(document) == {KEY: TritonTimes(4, 900, 300, 535)}


@pytest.mark.parametrize("document", [None, [], {}, {"model_stats": [{}]}, {"model_stats": [{"name": "x"}]}, "text"])
def test_what_is_no_statistics_is_said(document: object) -> None:
    with pytest.raises(UpstreamFailure, match="statistics"):
        times_of(document)
