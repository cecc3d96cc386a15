"""Confidence sequences: what they promise holds whenever one looks, and whatever happens to the rates meanwhile."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.analysis import bounds

SHARES = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)
ALPHAS = st.sampled_from([0.1, 0.01, 1e-4, 1e-8])
SEQUENCES = 300
# Of 300 sequences that each break a bound with probability 10 %, more than this do so with probability 2e-4.
MOST_WRONG = 50


def expected_evidence(shares: list[float], mean: float) -> float:
    """Return the mean of the evidence after trials of these success probabilities, by exact arithmetic."""
    counts = [Fraction(1)]
    for share in map(Fraction, shares):
        counts = [
            (counts[k] * (1 - share) if k < len(counts) else Fraction(0)) + (counts[k - 1] * share if k else 0)
            for k in range(len(counts) + 1)
        ]
    trials = len(shares)
    return float(sum(float(p) * math.exp(bounds.log_evidence(k, trials, mean)) for k, p in enumerate(counts)))


@given(st.integers(1, 40), SHARES)
def test_the_evidence_against_what_is_true_stays_one_in_the_mean(n: int, share: float) -> None:
    assert expected_evidence([share] * n, share) == pytest.approx(1.0, rel=1e-9)


@given(st.lists(SHARES, min_size=1, max_size=12))
def test_rates_that_change_are_no_evidence_either(shares: list[float]) -> None:
    assert expected_evidence(shares, sum(shares) / len(shares)) <= 1.0 + 1e-9


@given(st.data(), st.integers(1, 500), ALPHAS)
def test_a_share_bound_is_where_the_evidence_is_enough(data: st.DataObject, n: int, alpha: float) -> None:
    k = data.draw(st.integers(0, n))
    lower, upper = bounds.lower_share(k, n, alpha), bounds.upper_share(k, n, alpha)
    assert 0.0 <= lower <= k / n <= upper <= 1.0
    if lower > 0.0:
        assert bounds.log_evidence(k, n, lower) == pytest.approx(-math.log(alpha), abs=1e-3)
    assert upper == pytest.approx(1.0 - bounds.lower_share(n - k, n, alpha))


def test_no_trials_bound_nothing() -> None:
    assert (bounds.lower_share(0, 0, 0.1), bounds.upper_share(0, 0, 0.1)) == (0.0, 1.0)


@pytest.mark.parametrize(("k", "n"), [(0, 1_000), (10, 1_000), (1_000, 100_000), (5_000_000, 10_000_000)])
def test_a_bound_for_all_times_costs_no_more_than_double_of_one_for_one_time(k: int, n: int) -> None:
    """Against Hoeffding's relative entropy bound for one look, which is nearly exact."""

    def divergence(share: float, mean: float) -> float:
        return sum(a * math.log(a / b) for a, b in ((share, mean), (1 - share, 1 - mean)) if a > 0)

    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if n * divergence(k / n, middle) < math.log(100) else (low, middle)
    assert bounds.upper_share(k, n, 0.01) - k / n <= 2 * (low - k / n)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("burst", [1, 50])
def test_looking_at_every_time_finds_a_bound_wrong_no_more_often_than_it_says(share: float, burst: int) -> None:
    """Also where whole runs of trials succeed together by turns, as in an outage: the mean counts."""
    chance = np.random.default_rng(7)
    times = np.unique(np.geomspace(1, 3000, 120).astype(int))
    means = np.repeat(chance.permuted(np.resize([2 * share, 0.0] if burst > 1 else [share], 3000 // burst)), burst)
    wrong = 0
    for _ in range(SEQUENCES):
        successes = np.cumsum(chance.random(len(means)) < means)
        truth = np.cumsum(means) / np.arange(1, len(means) + 1)
        evidence = (
            bounds.log_evidence(int(successes[n - 1]), int(n), float(truth[n - 1]))
            for n in times[times <= len(means)]
            if truth[n - 1] > 0
        )
        wrong += any(each >= math.log(10) for each in evidence)
    assert wrong <= MOST_WRONG


@given(st.integers(1, 3000), SHARES, ALPHAS)
def test_the_ranks_are_the_closest_that_are_safe(n: int, q: float, alpha: float) -> None:
    least = -math.log(alpha)
    above = bounds.rank_above_quantile(n, q, alpha)
    if above is None:
        assert bounds.log_evidence(n, n, q) < least
    else:
        assert bounds.log_evidence(above, n, q) >= least > bounds.log_evidence(above - 1, n, q)
    below = bounds.rank_below_quantile(n, q, alpha)
    assert below is None or below <= n * q + 1
    assert above is None or above >= n * q


def test_the_rank_under_a_quantile_mirrors_the_rank_over_the_opposite_one() -> None:
    over = bounds.rank_above_quantile(5000, 0.01, 1e-3)
    assert over is not None
    assert bounds.rank_below_quantile(5000, 0.99, 1e-3) == 5000 - over + 1


def test_too_few_observations_bound_no_p99_from_above() -> None:
    assert bounds.rank_above_quantile(500, 0.99, 1e-2) is None
    assert bounds.rank_above_quantile(1500, 0.99, 1e-2) is not None
    assert bounds.rank_above_quantile(0, 0.99, 0.5) is None
    assert bounds.rank_below_quantile(0, 0.99, 0.5) is None


def test_a_p99_that_is_looked_at_every_time_is_within_its_bounds() -> None:
    chance, q, alpha = np.random.default_rng(3), 0.99, 0.1
    times = np.unique(np.geomspace(50, 4000, 60).astype(int))
    ranks = {int(n): (bounds.rank_below_quantile(int(n), q, alpha), bounds.rank_above_quantile(int(n), q, alpha))
             for n in times}  # fmt: skip
    too_high = too_low = 0
    for _ in range(SEQUENCES):
        values = chance.random(4000)  # their p99 is 0.99
        sorted_at = {n: np.sort(values[:n]) for n in ranks}
        too_high += any(below and sorted_at[n][below - 1] > q for n, (below, _) in ranks.items())
        too_low += any(above and sorted_at[n][above - 1] < q for n, (_, above) in ranks.items())
    assert too_high <= MOST_WRONG
    assert too_low <= MOST_WRONG


@pytest.mark.parametrize("mix", [(0.5, 0.5), (0.1,) * 10, (0.9, *(0.1 / 50,) * 50)], ids=["2", "10", "51"])
def test_a_mix_of_classes_never_leaves_its_bound_more_often_than_it_says(mix: tuple[float, ...]) -> None:
    chance, alpha, classes = np.random.default_rng(5), 0.1, len(mix)
    deviations = np.array([bounds.mix_deviation(n, float(n), classes, alpha) for n in range(1, 1501)])
    wrong = 0
    for _ in range(SEQUENCES):
        drawn = chance.choice(classes, size=1500, p=mix)
        counts = np.cumsum(np.eye(classes)[drawn], axis=0)
        distance = np.abs(counts / np.arange(1, 1501)[:, None] - mix).sum(axis=1) / 2
        wrong += bool((distance > deviations).any())
    assert wrong <= MOST_WRONG


def test_many_classes_do_not_make_the_mix_bound_useless() -> None:
    assert bounds.mix_deviation(20_000, 20_000.0, 1000, 1e-5) < 0.16
    assert bounds.mix_deviation(0, 0.0, 10, 1e-5) == 1.0
    assert bounds.mix_deviation(10, 10.0, 1, 1e-5) == 0.0
    assert bounds.mix_deviation(1, 1.0, 2, 1e-5) == 1.0


def plain_lower_share(successes: int, trials: int, alpha: float) -> float:
    """The bisection as its definition has it, with the whole evidence at each place."""
    least = -math.log(alpha)
    low, high = 0.0, successes / trials
    if not successes or bounds.log_evidence(successes, trials, low) < least:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        if bounds.log_evidence(successes, trials, middle) >= least:
            low = middle
        else:
            high = middle
    return low


@given(st.integers(1, 10**7), st.integers(0, 1000), ALPHAS)
def test_a_bound_is_the_same_to_the_last_digit_where_less_is_computed_for_it(n: int, part: int, alpha: float) -> None:
    for successes in (n * part // 1000, min(part, n)):
        assert bounds.lower_share(successes, n, alpha) == plain_lower_share(successes, n, alpha)


@given(st.integers(1, 10**6), SHARES, ALPHAS)
def test_a_rank_is_the_first_whose_whole_evidence_is_enough(n: int, q: float, alpha: float) -> None:
    least, rank = -math.log(alpha), bounds.rank_above_quantile(n, q, alpha)
    if rank is None:
        assert bounds.log_evidence(n, n, q) < least
    else:
        assert bounds.log_evidence(rank, n, q) >= least
        assert rank - 1 <= n * q or bounds.log_evidence(rank - 1, n, q) < least
