"""Confidence bounds that hold at every sample size at once, however often and whenever one looks.

Each bound is a one-sided confidence sequence: over the whole course of the counts the probability that it is ever wrong
is at most ``alpha``. Nobody has to say beforehand when he will look, and no look costs anything. No normal
approximation anywhere.

For successes with probabilities p_1, p_2, ..., which may change with time and with what went before, and any shift s,
the product of exp(s x_i) / (1 + p_i (e^s - 1)) is a martingale that starts at 1. The logarithm is concave in p, so with
the mean m of the p_i, exp(s k) / (1 + m (e^s - 1))^n is no larger. A mixture over shifts stays below 1 / alpha for ever
but for probability alpha (Ville, 1939; the method is Robbins', Ann. Math. Statist. 41, 1970; the classes of such
processes are in Howard, Ramdas, McAuliffe and Sekhon, Ann. Statist. 49, 2021). Bounds on quantiles follow because
whether an observation is at or under a quantile is such a success (Howard and Ramdas, Bernoulli 28, 2022).
"""

from __future__ import annotations

import math

# Shifts of the log-odds, from what tells a share of one from 1/3000 down to what tells apart shares that differ in the
# third digit.
_SHIFTS: tuple[float, ...] = tuple(8.0 * math.exp2(-j / 2) for j in range(27))
# Each shift with its e^s - 1.
_SHIFTED: tuple[tuple[float, float], ...] = tuple((shift, math.expm1(shift)) for shift in _SHIFTS)
_LOG_COUNT = math.log(len(_SHIFTS))
# More than the rounding of the sum's logarithm.
_ROUNDING = 1e-9
_BISECTIONS = 40
# Sizes at which a bound on a mix of classes takes a new share of alpha: each is so much more than the one before.
_FIRST_SIZE = 16
_GROWTH = 1.25


def log_evidence(successes: int, trials: int, mean: float) -> float:
    """Return the logarithm of the evidence against a mean success probability of no more than ``mean``.

    The evidence is an e-process: it ever exceeds 1 / alpha with probability at most alpha if the mean is no higher.
    """
    return _log_mixture(_log_terms(successes, trials, mean))


def _log_terms(successes: int, trials: int, mean: float) -> list[float]:
    return [shift * successes - trials * math.log1p(mean * raised) for shift, raised in _SHIFTED]


def _log_mixture(terms: list[float]) -> float:
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms)) - _LOG_COUNT


def _reaches(successes: int, trials: int, mean: float, least: float) -> bool:
    """Return whether ``log_evidence`` is at least ``least``.

    The sum of the terms is between the highest and so many times that, which mostly decides without it.
    """
    terms = _log_terms(successes, trials, mean)
    highest = max(terms)
    if highest - _LOG_COUNT >= least:
        return True
    return highest >= least - _ROUNDING and _log_mixture(terms) >= least


def lower_share(successes: int, trials: int, alpha: float) -> float:
    """Return a share that the mean success probability is ever below with probability at most alpha."""
    if successes <= 0:
        return 0.0
    least = -math.log(alpha)
    low, high = 0.0, successes / trials
    if not _reaches(successes, trials, low, least):
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _reaches(successes, trials, middle, least):
            low = middle
        else:
            high = middle
    return low


def upper_share(successes: int, trials: int, alpha: float) -> float:
    """Return a share that the mean success probability is ever above with probability at most alpha."""
    if trials < 1:
        return 1.0
    return 1.0 - lower_share(trials - successes, trials, alpha)


def rank_below_quantile(n: int, q: float, alpha: float) -> int | None:
    """Return the highest rank whose order statistic ever exceeds the q-quantile with probability at most alpha.

    Ranks count from 1, the smallest of n observations. The r-th exceeds the q-quantile only when fewer than r are at or
    under it, and each is with probability q at least, ties included.

    Returns:
        The rank, or None where n is too small for any.
    """
    above = _least_surprising(n, 1.0 - q, alpha)
    return None if above is None else n - above + 1


def rank_above_quantile(n: int, q: float, alpha: float) -> int | None:
    """Return the lowest rank whose order statistic is ever under the q-quantile with probability at most alpha.

    Returns:
        The rank, counted from 1, or None where n is too small for any.
    """
    return _least_surprising(n, q, alpha)


def _least_surprising(n: int, mean: float, alpha: float) -> int | None:
    """Return the fewest successes in n trials that are evidence enough against a mean; None where n are not enough."""
    least = -math.log(alpha)
    if n < 1 or not _reaches(n, n, mean, least):
        return None
    low, high = math.floor(n * mean), n  # no evidence below the mean
    while high - low > 1:
        middle = (low + high) // 2
        if _reaches(middle, n, mean, least):
            high = middle
        else:
            low = middle
    return high


def mix_deviation(rows: int, squares: float, classes: int, alpha: float) -> float:
    """Return how far, in total variation, the observed mix of classes ever is from the true one, but for alpha.

    The distance times the rows is a submartingale, so what holds at the end of a run of sizes holds all the way there
    (Doob). Size is the sum of the squares of the answers' rows, because an answer of r rows, which may all be of one
    class, moves it by r at most. Runs end at geometrically growing sizes; the k-th may spend alpha * 6 / (pi k)^2. At
    each end the smaller of two bounds counts, both functions of size, classes and alpha only: Azuma's and Hoeffding's
    over all sets of classes, better for few, and the mean deviation plus McDiarmid's inequality, better for many.

    Args:
        rows: Observed rows.
        squares: Sum over the answers of the squares of their numbers of rows.
        classes: Number of classes.
        alpha: Probability of ever being wrong.
    """
    if classes < 2:  # noqa: PLR2004 - one class has one mix
        return 0.0
    if rows < 1:
        return 1.0
    end, log_alpha = _run_of(squares, alpha)
    log_subsets = classes * math.log(2.0) + math.log1p(-(2.0 ** (1 - classes)))
    of_subsets = math.sqrt(end * (log_subsets - log_alpha) / 2)
    of_mean = math.sqrt(end * (classes - 1)) / 2 + math.sqrt(-end * log_alpha / 2)
    return min(1.0, of_subsets / rows, of_mean / rows)


def distribution_deviation(rows: int, squares: float, cuts: int, alpha: float) -> float:
    """Return how far, at any of some cuts, the observed share below ever is from the true one, but for alpha.

    The differences between the observed and the true number of rows below a cut are a martingale, whose step by an
    answer of r rows is r at most, whatever these have in common and whatever the distribution is at that time. So
    Hoeffding's maximal inequality holds with the sum of r^2 for the size, at each cut and in both directions (J. Am.
    Stat. Assoc. 58, 1963), over runs of sizes as in ``mix_deviation``. Of answers of one row each it is the inequality
    of Dvoretzky, Kiefer and Wolfowitz with ``2 * cuts`` for its constant, without its need for equal distributions.

    Args:
        rows: Observed rows.
        squares: Sum over the answers of the squares of their numbers of rows.
        cuts: Number of values at which the distributions are compared.
        alpha: Probability of ever being wrong.
    """
    if rows < 1:
        return 1.0
    end, log_alpha = _run_of(squares, alpha)
    return min(1.0, math.sqrt(end * (math.log(2.0 * cuts) - log_alpha) / 2) / rows)


def _run_of(size: float, alpha: float) -> tuple[float, float]:
    """Return at which size the run ends that a size is in, and the logarithm of what it may spend of alpha."""
    run = max(0, math.ceil(math.log(size / _FIRST_SIZE) / math.log(_GROWTH)))
    return max(float(size), _FIRST_SIZE * _GROWTH**run), math.log(alpha * 6.0 / (math.pi * (run + 1)) ** 2)
