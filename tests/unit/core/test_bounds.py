from fractions import Fraction
from math import comb, exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import bounds

SHARES = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)
ALPHAS = st.sampled_from([0.1, 0.01, 1e-4, 1e-8])


def exact_at_least(k: int, n: int, p: float | Fraction) -> float:
    share = Fraction(p)
    return float(sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k, n + 1)))


@given(st.integers(0, 60), st.integers(1, 60), SHARES)
def test_binomial_tails_are_those_of_exact_arithmetic(k: int, n: int, p: float) -> None:
    assert bounds.at_least(k, n, p) == pytest.approx(exact_at_least(k, n, p), rel=1e-9, abs=1e-15)
    at_most = exact_at_least(n - k, n, Fraction(1) - Fraction(p)) if k <= n else 1.0
    assert bounds.at_most(k, n, p) == pytest.approx(at_most, rel=1e-9, abs=1e-15)


@given(st.data(), st.integers(1, 60), ALPHAS)
def test_a_share_bound_is_where_the_exact_tail_is_alpha(data: st.DataObject, n: int, alpha: float) -> None:
    k = data.draw(st.integers(1, n))
    lower = bounds.lower_share(k, n, alpha)
    assert 0 < lower < k / n or k == n
    assert exact_at_least(k, n, lower) == pytest.approx(alpha, rel=1e-6)
    assert bounds.upper_share(n - k, n, alpha) == pytest.approx(1 - lower, abs=1e-12)


def test_share_bounds_hold_at_the_edges() -> None:
    assert bounds.lower_share(0, 50, 0.01) == 0.0
    assert bounds.upper_share(50, 50, 0.01) == 1.0
    # The rule of three: no error in 300 requests bounds the share to 1 % at 5 %.
    assert bounds.upper_share(0, 300, 0.05) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize(
    ("k", "n", "lower", "upper"),
    [  # scipy.stats.beta.ppf(1e-6, k, n - k + 1) and beta.ppf(1 - 1e-6, k + 1, n - k)
        (10_000, 100_000, 0.09554723473026334, 0.10457612786283278),
        (1_000_000, 10_000_000, 0.09954961658958232, 0.10045161534548207),
    ],
)
def test_share_bounds_stay_right_for_millions_of_requests(k: int, n: int, lower: float, upper: float) -> None:
    assert bounds.lower_share(k, n, 1e-6) == pytest.approx(lower, rel=1e-9)
    assert bounds.upper_share(k, n, 1e-6) == pytest.approx(upper, rel=1e-9)


@given(st.integers(1, 60), SHARES, ALPHAS)
def test_a_rank_under_the_quantile_is_the_highest_that_is_safe(n: int, q: float, alpha: float) -> None:
    def wrong(rank: int) -> float:  # the rank-th smallest is above the quantile
        return exact_at_least(n - rank + 1, n, Fraction(1) - Fraction(q))

    rank = bounds.rank_below_quantile(n, q, alpha) or 0
    assert rank == 0 or wrong(rank) <= alpha * (1 + 1e-9)
    assert rank == n or wrong(rank + 1) >= alpha * (1 - 1e-9)


@given(st.integers(1, 60), SHARES, ALPHAS)
def test_a_rank_over_the_quantile_is_the_lowest_that_is_safe(n: int, q: float, alpha: float) -> None:
    rank = bounds.rank_above_quantile(n, q, alpha) or n + 1
    assert rank == n + 1 or exact_at_least(rank, n, q) <= alpha * (1 + 1e-9)
    assert rank == 1 or exact_at_least(rank - 1, n, q) >= alpha * (1 - 1e-9)


def test_too_few_observations_bound_no_p99_from_above() -> None:
    needed = log(1e-4) / log(0.99)
    assert bounds.rank_above_quantile(int(needed), 0.99, 1e-4) is None
    assert bounds.rank_above_quantile(int(needed) + 1, 0.99, 1e-4) == int(needed) + 1
    assert bounds.rank_above_quantile(0, 0.99, 0.5) is None
    assert bounds.rank_below_quantile(0, 0.99, 0.5) is None


def test_a_mix_of_two_classes_deviates_no_more_than_weissman_allows() -> None:
    # P(L1 >= e) <= (2^2 - 2) exp(-n e^2 / 2), and total variation is half of L1.
    deviation = bounds.mix_deviation(1000, 2, 1e-3)
    assert 2 * exp(-1000 * (2 * deviation) ** 2 / 2) == pytest.approx(1e-3)


def test_many_classes_do_not_make_the_mix_bound_useless() -> None:
    weissman = ((1000 * log(2) - log(1e-5)) / (2 * 20_000)) ** 0.5
    assert bounds.mix_deviation(20_000, 1000, 1e-5) <= weissman
    assert bounds.mix_deviation(20_000, 1000, 1e-5) < 0.14
    assert bounds.mix_deviation(0, 10, 1e-5) == 1.0
    assert bounds.mix_deviation(10, 1, 1e-5) == 0.0


def test_all_looks_together_spend_no_more_than_alpha() -> None:
    spent = sum(bounds.spent_at(0.01, look) for look in range(1, 200_000))
    assert 0.0099 < spent < 0.01
    with pytest.raises(ValueError, match="count from 1"):
        bounds.spent_at(0.01, 0)
