"""A NaN that stable gives to the same requests is no harm; one that cannot be shown to be such is a hard fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.rollouts.scenarios import SAME
from loadtest.rollouts.simulation import simulate
from loadtest.rollouts.traffic import Traffic, Version
from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.rollouts.evidence import Evidence, Seen
from services.core.rollouts.forecast import forecast, plan
from services.core.rollouts.rollout import Phase
from services.core.rollouts.rollout_spec import AnalysisConfig, RolloutSpec, Step, Strategy

CONFIG = AnalysisConfig()


def tally(requests: int, non_finite: int = 0) -> Tally:
    latency = LatencyHistogram()
    latency.observe(0.01, requests)
    return Tally(requests, 0, non_finite, latency)


def pairs(count: int, *, original: int = 0, copy: int = 0, neither: int = 0, both: int = 0) -> Comparison:
    """Return pairs of which so many are not finite: on one side alone, on both otherwise, or on both alike."""
    times, odd = tally(count).latency, original + copy + neither
    output = OutputComparison(count, 0, 0, odd, original, copy, both)
    return Comparison(PairCounts(count, odd), original=times, copy=times, outputs={"scores": output})


def finite(weight: int, seen: Seen, *, mirror: int = 0, final: bool = False, config: AnalysisConfig = CONFIG) -> Check:
    terms = Terms(config, weight, 200, 3, final, mirror)
    return next(one for one in assess(terms, seen).checks if one.name == "finite")


# Copies: both versions answered the same request.


def test_values_that_both_give_to_the_same_request_are_no_harm_however_many() -> None:
    seen = Seen(tally(9000, 900), Tally(), pairs(4000, both=400), pairs(1000, both=100))
    check = finite(0, seen, mirror=100, final=True)
    assert check.outcome is Outcome.PASS
    assert "to 400 of 4000 requests both versions gave the same values that are not finite" in check.text
    verdict = assess(Terms(CONFIG, 0, 200, 2, final=True, mirror_percent=100), seen)
    assert verdict.outcome is Outcome.PASS, verdict.text


@pytest.mark.parametrize("harm", [{"copy": 1}, {"neither": 1}])
def test_one_copy_that_is_the_candidates_alone_is_enough_also_where_stable_gives_others(harm: dict[str, int]) -> None:
    check = finite(0, Seen(tally(9000, 900), Tally(), pairs(4000, both=400, **harm), pairs(1000, both=100)), mirror=100)
    assert check.outcome is Outcome.FAIL
    assert "of 4000 requests that both versions answered the candidate gave a NaN or an infinity to 1" in check.text
    assert check.numbers["candidate_non_finite"] == 1


def test_what_is_stables_alone_is_not_the_candidates_harm() -> None:
    assert finite(0, Seen(tally(9000, 50), Tally(), pairs(4000, original=50), pairs(1000)), mirror=100).outcome is (
        Outcome.PASS
    )


def test_a_stable_that_differs_from_itself_is_compared_by_shares() -> None:
    floor = pairs(1000, copy=20)
    assert finite(0, Seen(tally(9000), Tally(), pairs(4000, copy=80), floor), mirror=100).outcome is Outcome.PASS
    worse = finite(0, Seen(tally(9000), Tally(), pairs(4000, copy=400), floor), mirror=100)
    assert worse.outcome is Outcome.FAIL
    assert worse.numbers["pairs_candidate_count"] == 400
    one_more = finite(0, Seen(tally(9000), Tally(), pairs(4000, copy=130), floor), mirror=100)
    assert one_more.outcome is Outcome.INCONCLUSIVE


def test_a_canary_with_a_mirror_fails_by_one_pair_although_stable_gives_such_answers() -> None:
    live = (tally(9000, 90), tally(1000, 10))
    fair = Seen(*live, pairs(4000, both=40), pairs(400, both=4))
    assert finite(10, fair, mirror=50).outcome is Outcome.PASS
    odd = replace(fair, comparison=pairs(4000, both=40, copy=1))
    assert finite(10, odd, mirror=50).outcome is Outcome.FAIL


# A canary without copies: each version answers other requests.


def test_one_live_answer_is_enough_while_stable_gives_none() -> None:
    check = finite(10, Seen(tally(10_000), tally(300, 1)))
    assert check.outcome is Outcome.FAIL
    assert check.text == "the candidate gave 1 answers that are not finite, stable none"


def test_where_stable_gives_some_the_shares_over_the_same_time_decide() -> None:
    assert finite(10, Seen(tally(20_000, 1000), tally(2000, 100))).outcome is Outcome.PASS
    assert finite(10, Seen(tally(20_000, 1000), tally(2000, 125))).outcome is Outcome.INCONCLUSIVE
    harm = finite(10, Seen(tally(20_000, 1000), tally(2000, 300)))
    assert harm.outcome is Outcome.FAIL
    assert harm.numbers["log_evidence"] is not None
    assert finite(10, Seen(tally(20_000, 1), tally(2000, 100))).outcome is Outcome.FAIL


def test_before_promotion_the_share_must_be_shown_to_be_within_what_is_allowed() -> None:
    few = Seen(tally(2000, 100), tally(2000, 100))
    assert finite(50, few).outcome is Outcome.PASS
    assert finite(50, few, final=True).outcome is Outcome.INCONCLUSIVE
    assert finite(50, Seen(tally(90_000, 4500), tally(90_000, 4500)), final=True).outcome is Outcome.PASS


def test_more_of_them_are_no_pass_where_fewer_failures_make_up_for_it() -> None:
    stable, candidate = replace(tally(20_000, 20), failed=0), tally(20_000, 350)
    stable = Tally(20_400, 400, 20, stable.latency)
    verdict = assess(Terms(CONFIG, 50, 200, 3, final=False), Seen(stable, candidate))
    outcomes = {check.name: check.outcome for check in verdict.checks}
    assert outcomes["errors"] is Outcome.PASS
    assert outcomes["finite"] is Outcome.FAIL


def test_what_stable_gave_in_the_steps_before_is_known_of_it() -> None:
    first = Evidence(stable=tally(5000, 3)).next_step()
    evidence = replace(first, stable=tally(2000), candidate=tally(500, 1))
    assert (evidence.stable_non_finite_before, evidence.next_step().stable_non_finite_before) == (3, 3)
    assert finite(25, evidence.seen).outcome is Outcome.PASS
    many = replace(evidence, candidate=tally(500, 60))
    assert finite(25, many.seen).outcome is Outcome.FAIL
    unknown = replace(evidence, stable_non_finite_before=0)
    assert finite(25, unknown.seen).outcome is Outcome.FAIL


# After a blue-green switch: the candidate answers all, and stable a share of copies.


def test_after_the_switch_the_old_version_s_copies_show_that_it_gives_them_too() -> None:
    seen = Seen(Tally(), tally(20_000, 1000), pairs(4000, both=200), pairs(400, both=20))
    assert finite(100, seen, mirror=20).outcome is Outcome.PASS
    verdict = assess(Terms(CONFIG, 100, 200, 2, final=False, mirror_percent=20), seen)
    assert verdict.outcome is Outcome.PASS, verdict.text
    assert {one.name: one for one in verdict.checks}["errors"].numbers["stable_count"] == 200


def test_after_the_switch_one_is_enough_where_nothing_of_the_kind_is_known_of_the_old_version() -> None:
    seen = Seen(Tally(), tally(20_000, 1), pairs(4000), pairs(400))
    assert finite(100, seen, mirror=20).outcome is Outcome.FAIL
    assert finite(100, Seen(Tally(), tally(20_000, 1)), mirror=20).outcome is Outcome.FAIL
    known = replace(seen, stable_non_finite_before=7)
    assert finite(100, known, mirror=20).outcome is Outcome.PASS
    nothing_compared = Seen(Tally(), tally(300, 1), stable_non_finite_before=7)
    assert finite(100, nothing_compared, mirror=20).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("harm", [{"original": 1}, {"neither": 1}])
def test_after_the_switch_one_pair_is_enough_and_a_noisy_candidate_no_excuse(harm: dict[str, int]) -> None:
    floor = pairs(400, copy=20)
    seen = Seen(Tally(), tally(20_000, 1000), pairs(4000, both=200, **harm), floor, stable_non_finite_before=50)
    assert finite(100, seen, mirror=20).outcome is Outcome.FAIL
    old_version = replace(seen, comparison=pairs(4000, both=200, copy=1))
    assert finite(100, old_version, mirror=20).outcome is Outcome.PASS


def test_after_the_switch_more_than_the_old_version_gives_is_harm_although_nothing_of_it_was_copied() -> None:
    seen = Seen(Tally(), tally(20_000, 3000), pairs(4000, both=200), stable_non_finite_before=50)
    assert finite(100, seen, mirror=20).outcome is Outcome.FAIL


# What was counted and asked before there was any of this.


def test_pairs_of_which_nobody_counted_the_side_are_the_candidates() -> None:
    unknown = replace(pairs(4000), outputs={"scores": OutputComparison(4000, non_finite=1)})
    for weight in (0, 100):
        seen = Seen(tally(9000), tally(9000), unknown, pairs(400))
        assert finite(weight, seen, mirror=20).outcome is Outcome.FAIL


def test_a_rollout_that_asks_nothing_of_the_share_is_judged_as_before() -> None:
    asks_nothing = replace(CONFIG, max_non_finite_increase=None)
    both = finite(10, Seen(tally(10_000, 1), tally(300, 1)), config=asks_nothing)
    assert (both.outcome, both.text) == (
        Outcome.PASS,
        "both versions give answers that are not finite; they count as bad",
    )
    assert both.numbers == {"candidate_non_finite": 1, "stable_non_finite": 1}
    switched = Seen(Tally(), tally(20_000, 1), pairs(4000, both=1), stable_non_finite_before=7)
    assert finite(100, switched, mirror=20, config=asks_nothing).outcome is Outcome.FAIL
    terms = Terms(asks_nothing, 10, 200, 3, final=False)
    before = terms.digest
    assert replace(terms, config=CONFIG).digest != before


# Over whole rollouts.

MASKED = Traffic(stable=Version(masked=0.03), candidate=Version(masked=0.03))
SHADOW = next(one for one in SAME if one.name.endswith("shadow of all requests"))


def test_versions_that_mask_the_same_inputs_are_not_rolled_back() -> None:
    for seed in range(10):
        found = simulate(SAME[0].spec, MASKED, seed)
        assert not found.harm_shown, found.rollout.verdict
    for seed in range(5):
        assert simulate(SHADOW.spec, MASKED, seed).rollout.phase is Phase.CONCLUDING


def test_a_fault_among_values_that_are_masked_by_design_is_found() -> None:
    masks_more = replace(MASKED, candidate=Version(masked=0.06))
    faulty = replace(MASKED, candidate=Version(masked=0.03, non_finite=0.001))
    for seed in range(5):
        found = simulate(SAME[0].spec, masks_more, seed)
        assert found.harm_shown
        shadow = simulate(SHADOW.spec, faulty, seed)
        assert (shadow.harm_shown, shadow.looks_late) == (True, 0)


def test_plans_and_forecasts_know_that_stable_gives_such_answers() -> None:
    spec = RolloutSpec("m", 2, strategy=Strategy.BLUE_GREEN, steps=(Step(0, 1, 200, 100), Step(100, 1, 200, 20)))
    steps = plan(spec, tally(60_000, 600), 60.0)
    assert all(step.requests is not None for step in steps)
    seen = Seen(Tally(), tally(2000, 100), pairs(300, both=15), stable_non_finite_before=9)
    found = forecast(Terms(CONFIG, 100, 200, 2, final=True, mirror_percent=20), seen, 10.0)
    assert found is not None
    assert found.outcome is Outcome.PASS
