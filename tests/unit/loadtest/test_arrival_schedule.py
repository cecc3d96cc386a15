"""The schedule is decided before the first answer, and is the same again for the same seed."""

from itertools import islice, pairwise

import pytest

from loadtest.schedule import Process, offsets


@pytest.mark.parametrize("process", list(Process))
def test_the_same_seed_gives_the_same_schedule_and_another_seed_another(process: Process) -> None:
    def first(seed: int) -> list[float]:
        return list(islice(offsets(process, 100, seed), 500))

    assert first(1) == first(1)
    assert first(1) != first(2)


@pytest.mark.parametrize("process", list(Process))
def test_offsets_ascend_and_end_with_the_duration(process: Process) -> None:
    due = list(offsets(process, 200, 3, duration_s=10.0))
    assert due[0] >= 0
    assert due[-1] < 10.0
    assert all(earlier < later for earlier, later in pairwise(due))


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    due = list(offsets(Process.POISSON, 100, 7, duration_s=200.0))
    assert len(due) == pytest.approx(20_000, rel=0.03)
    gaps = [later - earlier for earlier, later in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance == pytest.approx(mean**2, rel=0.05)  # exponential: the standard deviation equals the mean


def test_constant_arrivals_are_evenly_spaced_and_do_not_drift() -> None:
    due = list(islice(offsets(Process.CONSTANT, 30, 1), 100_001))
    assert due[100_000] - due[0] == pytest.approx(100_000 / 30, abs=1e-6)
    assert due[1] - due[0] == pytest.approx(1 / 30)
