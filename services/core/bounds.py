"""Confidence bounds that hold at every sample size: no normal approximation anywhere.

Shares are bounded by Clopper and Pearson (Biometrika 26, 1934), quantiles by order statistics, and a mix of classes by
the smaller of two deviation bounds. ``alpha`` is always the probability that the one-sided bound is wrong.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_PRECISION = 1e-15
_MAX_TERMS = 200_000
_BISECTIONS = 60


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function (modified Lentz, DLMF 8.17.22)."""
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / (d if abs(d) > _TINY else _TINY)
            c = 1.0 + term / c
            c = c if abs(c) > _TINY else _TINY
            step = c * d
            value *= step
        if abs(step - 1.0) < _PRECISION:
            return value
    raise ArithmeticError(f"the incomplete beta function did not converge at x={x}, a={a}, b={b}")


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), for a and b above 0."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return min(1.0, front * _beta_fraction(x, a, b) / a)
    return max(0.0, 1.0 - front * _beta_fraction(1.0 - x, b, a) / b)


def at_least(k: int, n: int, p: float) -> float:
    """Return the probability of k or more successes in n trials of probability p."""
    if k <= 0:
        return 1.0
    if k > n:
        return 0.0
    return beta_cdf(p, k, n - k + 1)


def at_most(k: int, n: int, p: float) -> float:
    """Return the probability of k or fewer successes in n trials of probability p."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return beta_cdf(1.0 - p, n - k, k + 1)


def lower_share(k: int, n: int, alpha: float) -> float:
    """Return a share that the true one is below with probability at most alpha, after k successes in n trials."""
    if k <= 0:
        return 0.0
    low, high = 0.0, k / n
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if at_least(k, n, middle) > alpha:
            high = middle
        else:
            low = middle
    return low


def upper_share(k: int, n: int, alpha: float) -> float:
    """Return a share that the true one is above with probability at most alpha, after k successes in n trials."""
    return 1.0 - lower_share(n - k, n, alpha)


def rank_below_quantile(n: int, q: float, alpha: float) -> int | None:
    """Return the highest rank whose order statistic exceeds the q-quantile with probability at most alpha.

    Ranks count from 1, the smallest of n observations. The r-th exceeds the q-quantile exactly when fewer than r
    observations are at or below it, and that count is at least Binomial(n, q), ties included.

    Returns:
        The rank, or None where n is too small for any.
    """
    if n < 1 or at_most(0, n, q) > alpha:
        return None
    low, high = 1, n
    while low < high:
        middle = (low + high + 1) // 2
        if at_most(middle - 1, n, q) <= alpha:
            low = middle
        else:
            high = middle - 1
    return low


def rank_above_quantile(n: int, q: float, alpha: float) -> int | None:
    """Return the lowest rank whose order statistic is under the q-quantile with probability at most alpha.

    Returns:
        The rank, counted from 1, or None where n is too small for any.
    """
    if n < 1 or at_least(n, n, q) > alpha:
        return None
    low, high = 1, n
    while low < high:
        middle = (low + high) // 2
        if at_least(middle, n, q) <= alpha:
            high = middle
        else:
            low = middle + 1
    return low


def mix_deviation(n: int, classes: int, alpha: float) -> float:
    """Return how far, in total variation, an observed mix of classes is from the true one but for probability alpha.

    The smaller of two bounds, both functions of n, classes and alpha only, so that choosing costs nothing: Weissman et
    al. (HP Labs HPL-2003-97, theorem 2.1), better for few classes; and the mean deviation plus McDiarmid's inequality
    (Kontorovich, 2012), better for many.
    """
    if classes < 2:  # noqa: PLR2004 - one class has one mix
        return 0.0
    if n < 1:
        return 1.0
    log_subsets = classes * math.log(2.0) + math.log1p(-(2.0 ** (1 - classes)))
    weissman = math.sqrt((log_subsets - math.log(alpha)) / (2 * n))
    mcdiarmid = math.sqrt((classes - 1) / n) / 2 + math.sqrt(-math.log(alpha) / (2 * n))
    return min(1.0, weissman, mcdiarmid)


def spent_at(alpha: float, look: int) -> float:
    """Return the share of alpha that the look-th look may spend, counted from 1: all looks together spend alpha.

    The sum of 1/k^2 over all k is pi^2/6, so that the number of looks need not be known before.
    """
    if look < 1:
        raise ValueError(f"look {look}; looks count from 1")
    return alpha * 6.0 / (math.pi * look) ** 2
