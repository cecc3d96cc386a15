from collections.abc import Mapping
from dataclasses import replace

import pytest

from services.core.analysis.assessment import Terms
from services.core.analysis.assessment import assess as assess_on
from services.core.analysis.verdict import Check, Outcome, Verdict, verdict_of
from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import ValueHistogram
from services.core.rollouts.evidence import Seen
from services.core.rollouts.rollout_spec import AnalysisConfig

CONFIG = AnalysisConfig()


def assess(
    config: AnalysisConfig, stable: Tally, candidate: Tally, min_requests: int, *, final: bool = False, steps: int = 3
) -> Verdict:
    return assess_on(Terms(config, 10, min_requests, steps, final), Seen(stable, candidate))


def tally(
    requests: int = 0,
    *,
    failed: int = 0,
    non_finite: int = 0,
    latency_s: float = 0.010,
    predictions: Mapping[str, tuple[int, ...]] | None = None,
    slow: int = 0,
    slow_s: float = 1.0,
) -> Tally:
    latency = LatencyHistogram()
    latency.observe(latency_s, requests - failed - slow)
    latency.observe(slow_s, slow)
    return Tally(requests, failed, non_finite, latency, predictions or {})


def check(verdict: Verdict, name: str) -> Check:
    return next(each for each in verdict.checks if each.name == name)


def test_no_data_is_inconclusive() -> None:
    assert assess(CONFIG, Tally(), Tally(), 1).outcome is Outcome.INCONCLUSIVE
    assert assess(CONFIG, tally(10_000), Tally(), 1).outcome is Outcome.INCONCLUSIVE
    assert assess(CONFIG, Tally(), tally(10_000), 1).outcome is Outcome.INCONCLUSIVE


def test_no_checks_are_inconclusive() -> None:
    assert verdict_of(()).outcome is Outcome.INCONCLUSIVE


def test_what_cannot_be_judged_hides_no_harm() -> None:
    lost, harm = (Check(name, outcome, {}, "") for name, outcome in (("metric:x", Outcome.ERROR), ("e", Outcome.FAIL)))
    assert verdict_of((lost, harm)).outcome is Outcome.FAIL
    assert verdict_of((lost,)).outcome is Outcome.ERROR


def test_equal_versions_with_enough_answers_pass() -> None:
    assert assess(CONFIG, tally(2000), tally(200), 200).outcome is Outcome.PASS


@pytest.mark.parametrize(("stable", "candidate"), [(2000, 199), (199, 2000)])
def test_too_few_answers_on_either_side_never_pass(stable: int, candidate: int) -> None:
    verdict = assess(CONFIG, tally(stable), tally(candidate), 200)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "at least 200" in verdict.text


def test_a_shared_outage_does_not_pass_however_long_it_lasts() -> None:
    everything_fails = assess(CONFIG, tally(10**6, failed=10**6), tally(10**5, failed=10**5), 200)
    assert everything_fails.outcome is Outcome.INCONCLUSIVE
    half_fails = assess(CONFIG, tally(10**6, failed=5 * 10**5), tally(10**5, failed=5 * 10**4), 200)
    assert half_fails.outcome is Outcome.INCONCLUSIVE
    assert "stable itself" in half_fails.text


def test_a_shared_outage_does_not_fail_the_candidate() -> None:
    verdict = assess(CONFIG, tally(2000, failed=600), tally(500, failed=150), 200)
    assert check(verdict, "errors").outcome is Outcome.PASS


def test_five_percent_errors_fail() -> None:
    assert assess(CONFIG, tally(10_000, failed=2), tally(800, failed=40), 200).outcome is Outcome.FAIL


def test_errors_that_could_be_chance_are_inconclusive() -> None:
    verdict = assess(CONFIG, tally(10_000, failed=2), tally(200, failed=4), 200)
    assert check(verdict, "errors").outcome is Outcome.INCONCLUSIVE
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_answers_that_are_not_finite_count_as_bad() -> None:
    verdict = assess(CONFIG, tally(10_000), tally(500, non_finite=500), 200)
    assert verdict.outcome is Outcome.FAIL
    assert check(verdict, "errors").numbers["candidate_count"] == 500


def test_a_stable_that_is_not_finite_is_nothing_to_compare_with() -> None:
    verdict = assess(CONFIG, tally(10_000, non_finite=10_000), tally(500, non_finite=500), 200)
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_a_doubled_p99_fails() -> None:
    verdict = assess(CONFIG, tally(10_000, latency_s=0.02), tally(1000, latency_s=0.04), 200)
    assert check(verdict, "p99").outcome is Outcome.FAIL
    assert verdict.outcome is Outcome.FAIL


def test_one_slow_answer_in_a_thousand_does_not_fail() -> None:
    verdict = assess(CONFIG, tally(10_000), tally(1000, slow=1), 200)
    assert check(verdict, "p99").outcome is Outcome.PASS


def test_latency_under_the_floor_is_never_judged() -> None:
    verdict = assess(CONFIG, tally(10_000, latency_s=0.0005), tally(5000, latency_s=0.004), 200)
    assert check(verdict, "p99").outcome is Outcome.PASS


def test_a_p99_beyond_the_histogram_is_not_called_slower() -> None:
    verdict = assess(CONFIG, tally(10_000, latency_s=500.0), tally(5000, latency_s=500.0), 200)
    assert check(verdict, "p99").outcome is Outcome.PASS
    assert check(verdict, "p99").numbers["stable_p99_upper_s"] is None


def test_a_constant_class_fails_within_a_hundred_answers() -> None:
    even, constant = {"scores": (400,) * 10}, {"scores": (100, *(0,) * 9)}
    verdict = assess(CONFIG, tally(4000, predictions=even), tally(100, predictions=constant), 200)
    assert check(verdict, "predictions:scores").outcome is Outcome.FAIL


def test_large_batches_are_worth_no_more_than_their_requests() -> None:
    # One request of 100 equal items is one draw: it shows nothing of the mix.
    even, constant = {"scores": (400,) * 10}, {"scores": (100, *(0,) * 9)}
    verdict = assess(CONFIG, tally(4000, predictions=even), tally(1, predictions=constant), 1)
    assert check(verdict, "predictions:scores").outcome is not Outcome.FAIL


def test_a_side_without_predictions_does_not_pass() -> None:
    verdict = assess(CONFIG, tally(4000, predictions={"scores": (4000,)}), tally(400), 200)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "one side has none" in verdict.text


def test_a_few_large_batches_of_one_class_among_single_rows_are_no_proof() -> None:
    """Stable got 20 batches of 1,000 rows of one class; at 5 % the candidate gets none of them with 0.95^20 = 36 %."""
    mix = tally(5020, predictions={"scores": (20_500, *(500,) * 9)})
    stable = replace(mix, values={"confidence:scores": ValueHistogram({900: 25_000}, 5000 + 20 * 1000**2)})
    candidate = replace(
        tally(250, predictions={"scores": (25,) * 10}), values={"confidence:scores": ValueHistogram({900: 250}, 250)}
    )
    verdict = assess(CONFIG, stable, candidate, 200)
    assert check(verdict, "predictions:scores").outcome is Outcome.INCONCLUSIVE
    alone = assess(CONFIG, replace(stable, values={}), replace(candidate, values={}), 200)
    assert check(alone, "predictions:scores").outcome is Outcome.FAIL  # as if each batch were one row of many


def test_an_output_that_nobody_asked_for_in_this_step_is_not_compared() -> None:
    """A worker remembers for good what it answered once, and counts only grow: their difference has an empty output."""
    once, later = (tally(n, predictions={"scores": (n,), "other": (1,)}) for n in (10, 4010))
    before, after = (replace(one, values={"mean:other": ValueHistogram({5: 1}, 1)}) for one in (once, later))
    verdict = assess(CONFIG, after - before, tally(400, predictions={"scores": (400,)}), 200)
    assert verdict.outcome is Outcome.PASS
    assert not [one.name for one in verdict.checks if "other" in one.name]


@pytest.mark.parametrize(("rows", "outcome"), [(5, Outcome.PASS), (500, Outcome.INCONCLUSIVE)])
def test_an_output_on_one_side_alone_holds_the_step_where_chance_does_not_explain_it(
    rows: int, outcome: Outcome
) -> None:
    """At 10 % the candidate gets none of 5 requests with 59 %, of 500 never."""
    stable = replace(tally(4000, predictions={"rare": (rows,)}), values={"mean:odd": ValueHistogram({5: rows}, rows)})
    verdict = assess(CONFIG, stable, tally(400), 200)
    assert {check(verdict, name).outcome for name in ("predictions:rare", "drift:mean:odd")} == {outcome}
    assert "stable alone gave it" in check(verdict, "predictions:rare").text
    anything = replace(CONFIG, max_prediction_shift=1.0, max_score_shift=1.0)
    assert assess(anything, stable, tally(400), 200).outcome is Outcome.PASS


def test_a_model_of_a_thousand_classes_can_pass() -> None:
    # 400 answers cannot cover 1,000 classes: their distance by chance alone is over the tolerance.
    stable = tuple(4 for _ in range(1000))
    candidate = tuple(1 if index % 5 < 2 else 0 for index in range(1000))
    verdict = assess(
        CONFIG, tally(4000, predictions={"scores": stable}), tally(400, predictions={"scores": candidate}), 200
    )
    numbers = check(verdict, "predictions:scores").numbers
    assert isinstance(numbers["distance"], float)
    assert numbers["distance"] > CONFIG.max_prediction_shift
    assert verdict.outcome is Outcome.PASS


def test_contradictory_counts_are_an_error_and_no_pass() -> None:
    verdict = assess(CONFIG, Tally(1000), Tally(1000, failed=1001), 10)
    assert verdict.outcome is Outcome.ERROR
    assert "1001 failed" in verdict.text


def test_a_verdict_names_every_number_and_the_same_evidence_gives_it_again() -> None:
    stable, candidate = tally(10_000, failed=2), tally(800, failed=40)
    verdict = assess(CONFIG, stable, candidate, 200)
    numbers = check(verdict, "errors").numbers
    assert numbers.keys() >= {"candidate_lower", "stable_upper", "max_increase", "alpha", "candidate_share"}
    assert assess(CONFIG, stable, candidate, 200) == verdict


def test_the_false_rollback_bound_is_shared_out_over_steps_tests_and_bounds() -> None:
    mix = {"scores": (400,), "other": (400,)}
    verdict = assess(CONFIG, tally(400, predictions=mix), tally(400, predictions=mix), 10, steps=5)
    each = CONFIG.false_rollback_bound / 5 / 7 / 2
    alphas = {one.name: one.numbers["alpha"] for one in verdict.checks if "alpha" in one.numbers}
    assert alphas == {
        "errors": pytest.approx(each),
        "p99": pytest.approx(each),
        "predictions:scores": pytest.approx(each / 2),
        "predictions:other": pytest.approx(each / 2),
    }


def test_before_promotion_good_estimates_are_not_enough() -> None:
    stable, candidate = tally(2000), tally(400)
    assert assess(CONFIG, stable, candidate, 200).outcome is Outcome.PASS
    verdict = assess(CONFIG, stable, candidate, 200, final=True)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert check(verdict, "errors").outcome is Outcome.INCONCLUSIVE
    assert check(verdict, "p99").outcome is Outcome.INCONCLUSIVE
    assert "not bounded yet" in check(verdict, "p99").text
    assert assess(CONFIG, tally(4000), tally(4000), 200, final=True).outcome is Outcome.PASS


def test_what_may_be_over_the_tolerance_is_not_promoted() -> None:
    verdict = assess(CONFIG, tally(20_000, failed=20), tally(4000, failed=36), 200, final=True)
    errors = check(verdict, "errors")
    assert errors.outcome is Outcome.INCONCLUSIVE
    upper, lower = errors.numbers["candidate_upper"], errors.numbers["stable_lower"]
    assert upper is not None
    assert lower is not None
    assert upper - lower > CONFIG.max_error_increase > errors.numbers["candidate_share"]  # type: ignore[operator]


def test_one_answer_that_is_not_finite_is_enough_where_stable_gives_none() -> None:
    verdict = assess(CONFIG, tally(10_000), tally(300, non_finite=1), 200)
    assert verdict.outcome is Outcome.FAIL
    assert "1 answers that are not finite" in verdict.text
    assert check(assess(CONFIG, tally(10_000, non_finite=1), tally(300, non_finite=1), 200), "finite").outcome is (
        Outcome.PASS
    )


SLOW = AnalysisConfig(slow_s=0.1, max_slow_increase=0.01)


def test_answers_over_a_service_level_bound_are_compared_where_one_is_given() -> None:
    worse = tally(2000, slow=160, slow_s=0.2)
    assert "slow" not in {one.name for one in assess(CONFIG, tally(10_000), worse, 200).checks}
    verdict = assess(SLOW, tally(10_000, slow=100, slow_s=0.2), worse, 200)
    assert check(verdict, "slow").outcome is Outcome.FAIL
    assert (check(verdict, "slow").numbers["candidate_count"], check(verdict, "slow").numbers["stable_count"]) == (
        160,
        100,
    )
    just_within = tally(2000, slow=160, slow_s=0.1)
    assert check(assess(SLOW, tally(10_000), just_within, 200), "slow").outcome is Outcome.PASS


def test_a_burst_that_one_side_got_more_of_by_chance_is_no_harm() -> None:
    """Its share of bad answers is surely higher, yet of all bad ones it has no more than its weight would give it."""
    terms = Terms(AnalysisConfig(max_error_increase=0.0), 50, 10, 3, final=False)
    few = check(assess_on(terms, Seen(tally(1000, failed=12), tally(40, failed=12))), "errors")
    lower, stable_upper = few.numbers["candidate_lower"], few.numbers["stable_upper"]
    assert lower is not None
    assert stable_upper is not None
    assert lower > stable_upper, "the distance of the bounds alone would say harm"
    assert few.outcome is not Outcome.FAIL
    many = check(assess_on(terms, Seen(tally(1000, failed=2), tally(40, failed=38))), "errors")
    assert many.outcome is Outcome.FAIL


def pairs(
    count: int, differing: int = 0, *, failed: int = 0, original_s: float = 0.01, copy_s: float = 0.01
) -> Comparison:
    original, copy = LatencyHistogram(), LatencyHistogram()
    original.observe(original_s, count)
    copy.observe(copy_s, count)
    return Comparison(PairCounts(count, differing), failed, original=original, copy=copy)


def on_copies(weight: int, seen: Seen, *, final: bool = False) -> Verdict:
    return assess_on(Terms(CONFIG, weight, 200, 2, final, 100), seen)


def test_a_shadow_that_answers_the_same_passes_on_its_copies_alone() -> None:
    seen = Seen(tally(5000), Tally(), pairs(4000), pairs(1000))
    assert on_copies(0, seen).outcome is Outcome.PASS
    assert on_copies(0, seen, final=True).outcome is Outcome.PASS


def test_nothing_passes_without_copies_however_much_traffic_stable_has() -> None:
    assert on_copies(0, Seen(tally(10**6), Tally())).outcome is Outcome.INCONCLUSIVE
    assert on_copies(100, Seen(Tally(), tally(10**6))).outcome is Outcome.INCONCLUSIVE


def test_other_answers_to_the_same_requests_are_found_where_the_mix_stays_the_same() -> None:
    verdict = on_copies(0, Seen(tally(9000), Tally(), pairs(8000, 240), pairs(2000)))
    assert check(verdict, "agreement").outcome is Outcome.FAIL
    assert "240 of 8000 copied requests" in verdict.text


def test_a_version_that_differs_from_itself_as_much_is_not_worse() -> None:
    verdict = on_copies(0, Seen(tally(9000), Tally(), pairs(8000, 800), pairs(2000, 200)))
    assert check(verdict, "agreement").outcome is Outcome.PASS


def test_a_floor_that_is_asked_for_is_not_none_before_it_was_seen() -> None:
    """A model that answers nobody the same twice, before the first copy went to the version itself."""
    seen = Seen(tally(9000), Tally(), pairs(16, 16))
    asked = Terms(CONFIG, 0, 10, 2, final=False, mirror_percent=100, floor_percent=5)
    assert check(assess_on(asked, seen), "agreement").outcome is Outcome.INCONCLUSIVE
    unasked = replace(asked, floor_percent=0)
    assert check(assess_on(unasked, seen), "agreement").outcome is Outcome.FAIL
    known = replace(seen, comparison=pairs(8000, 8000), floor=pairs(400, 400))
    assert check(assess_on(asked, known), "agreement").outcome is Outcome.PASS


def test_terms_that_do_not_say_what_floor_was_asked_for_keep_their_digest() -> None:
    terms = Terms(CONFIG, 0, 200, 2, final=False, mirror_percent=100)
    assert (
        terms.digest == "9c0a5d85ec319e9af92d67e9b28fb5bd4b603817950dc54b45ad514b389d2c45"
    )  # of a record from before it was said
    assert replace(terms, floor_percent=0).digest != terms.digest


def test_a_canary_is_compared_on_its_copies_too_where_it_has_a_mirror() -> None:
    live = (tally(9000), tally(9000))
    without = Terms(CONFIG, 50, 200, 2, final=False)
    assert "agreement" not in {one.name for one in assess_on(without, Seen(*live)).checks}
    assert on_copies(50, Seen(*live)).outcome is Outcome.INCONCLUSIVE  # a mirror without copies
    assert on_copies(50, Seen(*live, pairs(8000, 240), pairs(2000))).outcome is Outcome.FAIL


def test_copies_that_fail_or_take_longer_are_the_shadows_harm() -> None:
    assert on_copies(0, Seen(tally(9000), Tally(), pairs(5000, failed=500), pairs(1000))).outcome is Outcome.FAIL
    slower = on_copies(0, Seen(tally(9000), Tally(), pairs(5000, copy_s=0.05), pairs(1000)))
    assert check(slower, "p99").outcome is Outcome.FAIL


def odd(pairs_: Comparison, non_finite: int) -> Comparison:
    return replace(pairs_, outputs={"scores": OutputComparison(pairs_.pairs, non_finite=non_finite)})


def test_a_copy_that_is_not_finite_is_enough_where_stable_gives_none_such() -> None:
    seen = Seen(tally(5000), Tally(), odd(pairs(4000, 1), 1), pairs(1000))
    assert check(on_copies(0, seen), "finite").outcome is Outcome.FAIL
    stable_s_own = OutputComparison(4000, non_finite=1, original_non_finite=1)
    own = Seen(
        tally(5000, non_finite=1), Tally(), replace(pairs(4000, 1), outputs={"scores": stable_s_own}), pairs(1000)
    )
    assert check(on_copies(0, own), "finite").outcome is Outcome.PASS


def test_after_the_switch_the_candidates_own_failures_count_against_the_old_versions_copies() -> None:
    copies = pairs(5000, original_s=0.01, copy_s=0.01)
    assert on_copies(100, Seen(Tally(), tally(5000), copies, pairs(1000)), final=True).outcome is Outcome.PASS
    verdict = on_copies(100, Seen(Tally(), tally(5000, failed=500), copies, pairs(1000)))
    assert check(verdict, "errors").outcome is Outcome.FAIL
    slower = on_copies(100, Seen(Tally(), tally(5000), pairs(5000, original_s=0.05), pairs(1000)))
    assert check(slower, "p99").outcome is Outcome.FAIL
