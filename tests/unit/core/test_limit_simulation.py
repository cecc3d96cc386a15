"""What the limit promises in front of a Triton that fills batches; ``tests/fakes/limit_comparison.py`` prints more."""

import pytest

from services.core.limit import KneeLimit
from tests.fakes.batching_server import FixedLimit, Server, Worker, best_fixed, simulate
from tests.fakes.limit_comparison import SERVERS, Gradient2, Vegas

GPU = Server(max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05)


def total(workers: list[Worker], begin: float, end: float) -> float:
    return sum(worker.throughput(begin, end) for worker in workers)


@pytest.mark.parametrize(
    ("name", "share", "times_the_latency"),
    [
        ("batches of 32 on a GPU", 0.95, 2.0),
        ("batches of 8, six instances", 0.95, 2.0),
        # Here any higher throughput costs latency in proportion: the knee is no point, and neither is the limit.
        ("rows cost most, batches of 64", 0.85, 1.5),
        ("no batching", 0.95, 6.0),
        ("bimodal requests", 0.85, 2.2),
        ("noisy machine", 0.90, 2.2),
    ],
)
def test_the_limit_finds_the_knee(name: str, share: float, times_the_latency: float) -> None:
    server = SERVERS[name]
    limit, _ = best_fixed(server)
    ideal, worker = Worker(FixedLimit(limit)), Worker(KneeLimit())
    for one in (ideal, worker):
        simulate(server, [one], 30.0)
    assert worker.throughput(8, 30) >= share * ideal.throughput(8, 30)
    assert worker.quantile_s(0.99, 8, 30) <= times_the_latency * ideal.quantile_s(0.99, 8, 30)


@pytest.mark.parametrize("rival", [Vegas, Gradient2])
def test_limits_that_look_at_latency_alone_give_away_throughput_where_batches_fill(
    rival: type[Vegas] | type[Gradient2],
) -> None:
    for name in ("batches of 32 on a GPU", "batches of 8, six instances"):
        worker, ours = Worker(rival()), Worker(KneeLimit())
        for one in (worker, ours):
            simulate(SERVERS[name], [one], 30.0)
        assert worker.throughput(10, 30) < 0.9 * ours.throughput(10, 30)


def test_from_cold_the_limit_is_there_within_seconds() -> None:
    worker = Worker(KneeLimit())
    simulate(GPU, [worker], 6.0)
    _, most = best_fixed(GPU)
    assert worker.throughput(3, 6) >= 0.9 * most


def test_a_model_ten_times_slower_keeps_its_limit_and_its_share_of_what_is_possible() -> None:
    slow = Server(max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05, slowness=lambda now: 10.0 if now > 20 else 1.0)
    worker = Worker(KneeLimit())
    simulate(slow, [worker], 60.0)
    before = worker.throughput(10, 20)
    assert worker.throughput(22, 60) >= 0.9 * before / 10
    assert worker.mean_limit(30, 60) <= 2 * worker.mean_limit(10, 20)


def test_when_the_model_is_fast_again_so_is_the_gateway() -> None:
    spell = Server(
        max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05, slowness=lambda now: 10.0 if 20 < now < 35 else 1.0
    )
    worker = Worker(KneeLimit())
    simulate(spell, [worker], 45.0)
    assert worker.throughput(37, 45) >= 0.93 * worker.throughput(10, 20)


def test_a_dead_triton_that_comes_back_is_used_within_two_seconds() -> None:
    server = Server(max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05, alive=lambda now: not 15 < now < 25)
    worker = Worker(KneeLimit())
    simulate(server, [worker], 35.0, timeout_s=0.5)
    assert worker.mean_limit(23, 25) < 0.5 * worker.mean_limit(10, 15), "a dead Triton is not sent more and more"
    assert worker.throughput(27, 35) >= 0.9 * worker.throughput(8, 15)


def test_rare_timeouts_cost_no_throughput() -> None:
    stalls = Server(max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05, stall=0.001, stall_s=0.4)
    calm, stalled = Worker(KneeLimit()), Worker(KneeLimit())
    simulate(stalls, [calm], 30.0)
    simulate(stalls, [stalled], 30.0, timeout_s=0.35)
    assert stalled.timed_out > 0
    assert stalled.throughput(8, 30) >= 0.85 * calm.throughput(8, 30)


def test_the_limit_follows_replicas_that_come() -> None:
    server = Server(instances=lambda now: 1 if now < 20 else 3, max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05)
    worker = Worker(KneeLimit())
    simulate(server, [worker], 40.0)
    assert worker.throughput(28, 40) >= 2.7 * worker.throughput(10, 20)


def test_the_limit_follows_replicas_that_go() -> None:
    server = Server(instances=lambda now: 3 if now < 20 else 1, max_batch=16, base_s=0.010, row_s=0.0001, noise=0.05)
    worker = Worker(KneeLimit())
    simulate(server, [worker], 70.0)
    assert worker.throughput(50, 70) >= 0.9 / 3 * worker.throughput(10, 20)
    assert worker.mean_limit(50, 70) <= 0.7 * worker.mean_limit(10, 20)


def test_two_workers_find_the_knee_of_the_triton_that_they_share_and_share_it() -> None:
    alone = Worker(KneeLimit())
    simulate(GPU, [alone], 30.0)
    shares: list[float] = []
    for seed in range(3):
        workers = [Worker(KneeLimit()), Worker(KneeLimit())]
        simulate(GPU, workers, 100.0, seed=seed)
        assert total(workers, 10, 100) >= 0.95 * alone.throughput(10, 30)
        together = sum(worker.mean_limit(10, 100) for worker in workers)
        assert together <= 2 * alone.mean_limit(10, 30), "together they keep no more in Triton than one would"
        shares.append(workers[0].throughput(10, 100) / total(workers, 10, 100))
    # Trials are noisy and so are shares from moment to moment; it is the mean that is fair.
    assert all(0.3 <= share <= 0.7 for share in shares)
    assert 0.4 <= sum(shares) / len(shares) <= 0.6


def test_a_worker_that_begins_with_much_less_gets_its_share_in_the_end() -> None:
    unequal = [Worker(KneeLimit(120)), Worker(KneeLimit(33))]
    simulate(GPU, unequal, 200.0)
    begin, end = (unequal[1].throughput(*span) / total(unequal, *span) for span in ((0.0, 5.0), (100.0, 200.0)))
    assert begin < 0.25
    assert 0.3 <= end <= 0.7


def test_a_worker_with_little_traffic_leaves_the_rest_to_the_other() -> None:
    quiet, busy = Worker(KneeLimit(), demand=lambda _: 100.0), Worker(KneeLimit())
    simulate(GPU, [quiet, busy], 40.0)
    assert quiet.throughput(10, 40) >= 95
    _, most = best_fixed(GPU)
    assert total([quiet, busy], 10, 40) >= 0.93 * most


def test_a_load_that_can_be_carried_is_not_turned_away() -> None:
    _, most = best_fixed(GPU)
    for seed in (1, 2):
        worker = Worker(KneeLimit(), demand=lambda _: 0.7 * most, most_waiting=128)
        simulate(GPU, [worker], 30.0, seed=seed)
        assert worker.refused <= 0.005 * 0.7 * most * 30, "and those few come before anything is known"
