"""Distributions of confidences and values, compared however often one looks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom, ks_2samp

from services.core.analysis import bounds
from services.core.analysis.assessment import Terms, assess
from services.core.analysis.checks.drift import drift
from services.core.analysis.checks.predictions import predictions
from services.core.analysis.checks.sides import Sides
from services.core.analysis.population_stability import by_chance, by_deciles, in_words, stability_index
from services.core.analysis.verdict import Outcome
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import BIN_COUNT, ValueHistogram, bin_of
from services.core.memory.terms import LeakCheck, MemoryTerms
from services.core.rollouts.evidence import Seen
from services.core.rollouts.rollout_spec import AnalysisConfig

WHAT = "mean:price"
Values = npt.NDArray[np.floating[Any]]


def histogram(values: Sequence[float] | Values, squares: int | None = None) -> ValueHistogram:
    found, counts = np.unique([bin_of(float(value)) for value in values], return_counts=True)
    return ValueHistogram(
        dict(zip(found.tolist(), counts.tolist(), strict=True)), len(values) if squares is None else squares
    )


def tally(values: ValueHistogram, answers: int | None = None) -> Tally:
    answers = values.rows if answers is None else answers
    return Tally(answers, latency=LatencyHistogram({300: answers}, 0.1), values={WHAT: values} if values.rows else {})


def sides(stable: ValueHistogram, candidate: ValueHistogram, alpha: float = 1e-4) -> Sides:
    return Sides(tally(stable), tally(candidate), alpha, 0.05, 0.5, final=False)


def normal(seed: int, size: int, mean: float = 20.0, scatter: float = 4.0) -> Values:
    return np.random.default_rng(seed).normal(mean, scatter, size)


def test_the_distance_is_the_textbooks_to_within_a_bin() -> None:
    stable, candidate = normal(1, 4000), normal(2, 3000, 23.0)
    distance = drift(sides(histogram(stable), histogram(candidate)), WHAT, 0.2).numbers["distance"]
    assert isinstance(distance, float)
    textbook = ks_2samp(stable, candidate).statistic
    width = 0.5 / 4.0 * 0.4  # of a bin between 16 and 32, in deviations, by the highest density
    assert textbook - width - 0.01 <= distance <= textbook


def test_equal_distributions_pass_and_a_shifted_one_fails() -> None:
    stable = histogram(normal(1, 20_000))
    assert drift(sides(stable, histogram(normal(2, 2000))), WHAT, 0.2).outcome is Outcome.PASS
    found = drift(sides(stable, histogram(normal(3, 4000, 25.0))), WHAT, 0.2)
    assert found.outcome is Outcome.FAIL
    assert "mean of price: KS distance" in found.text
    assert "much change" in found.text


@pytest.mark.parametrize("value", [1.0, 0.5, 0.0, -3.0, 1e6])
def test_rounding_is_no_drift_also_where_every_answer_is_the_same_number(value: float) -> None:
    """A value on the edge of a bin: the least that a quantised version changes moves all answers to the next bin."""
    stable, candidate = histogram([value] * 9000), histogram([np.nextafter(value, -np.inf)] * 9000)
    found = drift(sides(stable, candidate), WHAT, 0.0)
    assert (found.outcome, found.numbers["distance"]) == (Outcome.PASS, 0.0)
    assert drift(sides(stable, histogram([value * 0.9 - 0.01] * 9000)), WHAT, 0.2).outcome is Outcome.FAIL


def test_a_few_answers_show_nothing_and_a_side_without_any_never_passes() -> None:
    low, high = histogram([1.0] * 20), histogram([9.0] * 20)
    assert drift(sides(low, high), WHAT, 0.2).outcome is Outcome.INCONCLUSIVE
    assert drift(sides(low, ValueHistogram()), WHAT, 0.99).outcome is Outcome.INCONCLUSIVE
    assert drift(sides(low, ValueHistogram()), WHAT, 1.0).outcome is Outcome.PASS  # any shift is allowed
    assert "one side has none" in drift(sides(ValueHistogram(), low), WHAT, 0.2).text


def test_one_large_batch_among_single_rows_is_one_draw() -> None:
    """999 answers of one row, and one of 1,000 equal ones: half of the rows, and no proof."""
    stable = histogram(normal(1, 100_000))
    batch = histogram([*normal(2, 999), *(40.0,) * 1000], squares=999 + 1000**2)
    found = drift(Sides(tally(stable), tally(batch, 1000), 1e-4, 0.05, 0.5, final=False), WHAT, 0.2)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.numbers["candidate_draws"] == pytest.approx(1999**2 / (999 + 1000**2))


def test_several_answers_to_one_request_are_one_draw() -> None:
    many = Sides(tally(histogram([1.0] * 9000), 10), tally(histogram([9.0] * 9000), 10), 1e-4, 0.05, 0.5, final=False)
    found = drift(many, WHAT, 0.2)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.numbers["candidate_draws"] == pytest.approx(10)


def test_looking_at_every_time_finds_equal_versions_apart_no_more_often_than_the_bounds_say() -> None:
    """At no tolerance, with batches of 1 to 8 rows whose rows are alike: the exact binomial criterion."""
    alpha, runs, looks, wrong = 0.05, 200, 60, 0
    for seed in range(runs):
        chance = np.random.default_rng(seed)
        stable, candidate = ValueHistogram(), ValueHistogram()
        failed = False
        for _ in range(looks):
            stable += _batches(chance)
            candidate += _batches(chance)
            failed |= drift(sides(stable, candidate, alpha), WHAT, 0.0).outcome is Outcome.FAIL
        wrong += failed
    assert binom.sf(wrong - 1, runs, 2 * alpha) > 0.01  # no more than the two bounds explain


def _batches(chance: np.random.Generator, answers: int = 20) -> ValueHistogram:
    rows = chance.integers(1, 9, answers)
    values = np.repeat(chance.normal(20, 4, answers), rows)
    return histogram(values, int((rows**2).sum()))


def test_the_bound_holds_at_every_cut_and_size_at_once() -> None:
    chance, alpha, cuts, runs, wrong = np.random.default_rng(5), 0.1, 9, 400, 0
    sizes = np.arange(1, 1001)
    deviations = np.array([bounds.distribution_deviation(int(n), float(n), cuts, alpha) for n in sizes])
    for _ in range(runs):
        below = np.cumsum(chance.random(1000)[:, None] < np.arange(1, 10) / 10, axis=0) / sizes[:, None]
        wrong += bool((np.abs(below - np.arange(1, 10) / 10).max(axis=1) > deviations).any())
    assert binom.sf(wrong - 1, runs, alpha) > 0.01
    assert bounds.distribution_deviation(0, 0.0, cuts, alpha) == 1.0
    assert bounds.distribution_deviation(20_000, 20_000.0, BIN_COUNT - 1, 1e-5) < 0.03


def test_a_shift_of_a_distance_of_three_tenths_is_found_in_every_run() -> None:
    """Uniform between 1 and 2, and 0.3 further: beyond the tolerance by a tenth, less a bin of a thirtieth.

    Both bounds must be under 0.069 together, on the alpha of a default rollout: that takes 11,000 answers each in the
    mean of a run of sizes, and at most a quarter more where the run has just begun.
    """
    for seed in range(40):
        chance = np.random.default_rng(seed)
        stable, candidate = ValueHistogram(), ValueHistogram()
        found = None
        while found is not Outcome.FAIL and stable.rows < 15_000:
            stable += histogram(chance.uniform(1.0, 2.0, 1000))
            candidate += histogram(chance.uniform(1.3, 2.3, 1000))
            found = drift(sides(stable, candidate, 0.01 / 3 / 6 / 2), WHAT, 0.2).outcome
        assert found is Outcome.FAIL


def test_the_index_is_zero_for_equal_shares_and_grows_with_the_difference() -> None:
    assert stability_index([100, 200], [1000, 2000]) == pytest.approx(0.0, abs=1e-4)
    assert stability_index([500, 500], [900, 100]) == pytest.approx(0.4 * np.log(1.8) - 0.4 * np.log(0.2), rel=0.01)
    assert np.isfinite(stability_index([1000, 0], [0, 1000]))
    assert stability_index([], []) == by_chance(0, 5, 5) == 0.0


def test_what_chance_shows_is_no_change() -> None:
    chance = np.random.default_rng(3)
    found = [
        stability_index(chance.multinomial(400, [0.1] * 10).tolist(), chance.multinomial(400, [0.1] * 10).tolist())
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(by_chance(10, 400, 400), rel=0.15)
    assert in_words(0.045, 0.045).endswith("little change")
    assert in_words(0.15, 0.01).endswith("some change")
    assert in_words(0.9, 0.01).endswith("much change")


def test_deciles_are_stables_tenths_and_hold_every_row() -> None:
    stable, candidate = dict.fromkeys(range(100), 10), {5: 7, 99: 3, 500: 1}
    theirs, mine = by_deciles(stable, candidate)
    assert theirs == [100] * 10
    assert (sum(mine), mine[0], mine[-1]) == (11, 7, 4)
    assert by_deciles({7: 50}, {3: 2, 7: 1, 9: 4}) == ([50, 0], [3, 4])


CONFIG = AnalysisConfig()


def verdict_checks(terms: Terms, stable: ValueHistogram, candidate: ValueHistogram) -> dict[str, Outcome]:
    verdict = assess(terms, Seen(tally(stable), tally(candidate)))
    return {check.name: check.outcome for check in verdict.checks}


def test_a_rollout_asks_it_where_both_versions_have_traffic_and_not_where_it_is_switched_off() -> None:
    stable, candidate = histogram(normal(1, 9000)), histogram(normal(2, 9000, 30.0))
    terms = Terms(CONFIG, 50, 200, 3, final=False)
    assert verdict_checks(terms, stable, candidate)[f"drift:{WHAT}"] is Outcome.FAIL
    off = replace(terms, config=replace(CONFIG, max_score_shift=None))
    assert f"drift:{WHAT}" not in verdict_checks(off, stable, candidate)
    allowed = replace(terms, config=replace(CONFIG, max_score_shift=1.0))
    assert verdict_checks(allowed, stable, candidate)[f"drift:{WHAT}"] is Outcome.PASS
    copies = replace(terms, weight_percent=0, mirror_percent=100)
    assert f"drift:{WHAT}" not in verdict_checks(copies, stable, candidate)


def test_terms_from_before_it_was_asked_have_the_digest_and_the_shares_that_they_had() -> None:
    config = replace(CONFIG, max_score_shift=None, max_non_finite_increase=None)
    unwatched = MemoryTerms(leak_check=LeakCheck.OFF)
    terms = Terms(config, 5, 200, 3, final=False, memory=unwatched)
    assert terms.digest == "6dd81c5f4e43b3f9c34988494c4697129e9cdbfc46e18d1f9e945fac22d2a89f"
    mix = replace(tally(ValueHistogram(), 400), predictions={"scores": (200, 200)})
    found = {check.name: check for check in assess(terms, Seen(mix, mix)).checks}["predictions:scores"]
    assert found.numbers["alpha"] == pytest.approx(CONFIG.false_rollback_bound / 3 / 5 / 2)
    assert "PSI" not in found.text


def test_a_mix_of_classes_is_told_with_its_index() -> None:
    one = replace(tally(ValueHistogram(), 1000), predictions={"scores": (500, 500)})
    other = replace(tally(ValueHistogram(), 1000), predictions={"scores": (600, 400)})
    found = predictions(Sides(one, other, 1e-4, 0.05, 0.5, final=False), "scores", 0.25, with_psi=True)
    assert found.numbers["psi"] == pytest.approx(stability_index([500, 500], [600, 400]))
    assert "PSI 0.04" in found.text
