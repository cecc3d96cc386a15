"""What is proposed where traffic is too thin: each proposal, followed, is enough, and half of it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from loadtest.rollouts.traffic import Version, answered
from services.core.analysis.assessment import Terms, assess
from services.core.analysis.verdict import Outcome
from services.core.counts.comparison import Comparison, PairCounts
from services.core.counts.tally import Tally
from services.core.rollouts.evidence import Seen
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.forecast import scaled
from services.core.rollouts.rollout import terms_of
from services.core.rollouts.rollout_spec import STEPS_OF, AnalysisConfig, Copies, RolloutSpec, Step, Strategy
from services.core.rollouts.thin_traffic import Proposal, Remedy, TrafficPlan, planned
from services.core.route import Arm

SPEC = RolloutSpec("m", 2, steps=(Step(5, 60, 200), Step(50, 60, 200)), max_step_duration_s=1800.0)


def seen(requests: int) -> Tally:
    return answered(Version(), requests, np.random.default_rng(1))


def by_remedy(found: TrafficPlan) -> dict[Remedy, Proposal]:
    return {one.remedy: one for one in found.proposals}


def test_where_traffic_is_enough_nothing_is_proposed() -> None:
    found = planned(SPEC, seen(12_000), 60.0)
    assert (found.enough, found.proposals, found.per_s) == (True, (), 200.0)
    assert found.seconds is not None


def test_so_much_more_load_is_proposed_as_is_needed_and_not_much_more() -> None:
    spec = replace(SPEC, max_step_duration_s=120.0)
    thin = planned(spec, seen(600), 60.0)
    assert not thin.enough
    proposal = by_remedy(thin)[Remedy.SYNTHETIC_LOAD]
    assert proposal.rate_per_s is not None
    more, half = (scaled(seen(600), 1 + part * proposal.rate_per_s / 10) for part in (1.0, 0.5))
    assert planned(spec, more, 60.0).enough
    assert not planned(spec, half, 60.0).enough
    assert f"penstock loadtest FILE --rate {proposal.rate_per_s:g}" in proposal.text
    assert proposal.requests is not None
    assert proposal.seconds is not None
    assert proposal.requests == pytest.approx(proposal.rate_per_s * proposal.seconds, rel=0.12)


def test_more_load_makes_no_step_shorter_than_it_was_asked_to_be() -> None:
    spec = replace(SPEC, steps=(Step(5, 600, 200), Step(50, 60, 200)), max_step_duration_s=600.0)
    proposal = by_remedy(planned(spec, seen(300), 60.0))[Remedy.SYNTHETIC_LOAD]
    assert proposal.rate_per_s is not None
    assert proposal.requests is not None
    assert proposal.seconds is not None
    then = planned(spec, scaled(seen(300), 1 + proposal.rate_per_s / 5), 60.0)
    assert then.enough
    assert then.seconds == pytest.approx(proposal.seconds, rel=0.1)
    assert proposal.requests == pytest.approx(proposal.rate_per_s * proposal.seconds, rel=0.12)


def test_the_proposed_replay_is_enough_for_a_shadow() -> None:
    proposal = by_remedy(planned(SPEC, seen(5_000), 2_500.0))[Remedy.SHADOW_REPLAY]
    assert proposal.requests is not None
    shadow = replace(SPEC, strategy=Strategy.SHADOW, steps=STEPS_OF[Strategy.SHADOW])
    terms = terms_of(shadow, 0, 0)

    def outcome(requests: int) -> Outcome:
        copies, floor = requests * 95 // 100, requests * 5 // 100
        stable, latency = scaled(seen(5_000), requests / 5_000), scaled(seen(5_000), copies / 5_000).latency
        same = Comparison(PairCounts(pairs=copies), original=latency, copy=latency)
        own = scaled(seen(5_000), floor / 5_000).latency
        return assess(
            terms, Seen(stable, Tally(), same, Comparison(PairCounts(pairs=floor), original=own, copy=own))
        ).outcome

    assert isinstance(terms, Terms)
    assert outcome(proposal.requests) is Outcome.PASS
    assert outcome(proposal.requests // 3) is not Outcome.PASS
    assert "--strategy shadow" in proposal.text
    assert f"--rate {proposal.rate_per_s:g}" in proposal.text


def test_the_proposed_shadow_has_the_tolerances_that_its_numbers_come_from() -> None:
    thin = (seen(5_000), 2_500.0)
    plain = by_remedy(planned(SPEC, *thin))[Remedy.SHADOW_REPLAY]
    assert "`penstock rollout start m --version 2 --strategy shadow`, then" in plain.text
    loose = AnalysisConfig(max_disagreement=0.05, max_score_shift=None)
    other = by_remedy(planned(replace(SPEC, analysis=loose, copies=Copies(slice_key="tenant")), *thin))
    text = other[Remedy.SHADOW_REPLAY].text
    assert "--strategy shadow --max-disagreement 0.05` with a --file that says analysis.max_score_shift, copies" in text


def test_copies_are_proposed_where_they_alone_are_enough() -> None:
    spec = replace(SPEC, strategy=Strategy.SHADOW, steps=(Step(0, 60, 200, 10),), max_step_duration_s=600.0)
    enough = planned(spec, seen(900), 60.0)
    assert not enough.enough
    proposal = by_remedy(enough)[Remedy.COPIES]
    assert proposal.seconds is not None
    copied = replace(spec, steps=tuple(replace(step, mirror_percent=100) for step in spec.steps))
    again = planned(copied, seen(900), 60.0)
    assert again.enough
    assert again.seconds == proposal.seconds
    assert Remedy.COPIES not in by_remedy(planned(spec, seen(6), 60.0)), "copies are not enough for it"
    assert Remedy.COPIES not in by_remedy(planned(copied, seen(6), 60.0)), "all are copied already"
    assert Remedy.COPIES not in by_remedy(planned(SPEC, seen(120), 60.0)), "a canary is judged by its own traffic"


def test_without_any_traffic_the_first_thing_is_to_send_some() -> None:
    [only] = planned(SPEC, Tally(), 0.0).proposals
    assert only.rate_per_s is None
    assert "penstock replay m --data FILE" in only.text


def test_where_no_traffic_passes_none_is_proposed() -> None:
    broken = Tally(6_000, failed=3_000, latency=seen(3_000).latency)
    [only] = planned(replace(SPEC, analysis=AnalysisConfig(max_stable_error=0.1)), broken, 60.0).proposals
    assert only.remedy is Remedy.TOLERANCES


def test_real_outcomes_are_not_made_up() -> None:
    clicked = Experiment(OutcomeSpec("clicked"), (Arm(3, 20),), min_outcomes=100_000)
    spec = replace(SPEC, strategy=Strategy.AB, steps=(Step(30, 60, 200),), experiment=clicked)
    [only] = planned(spec, seen(120), 60.0).proposals
    assert only.remedy is Remedy.PATIENCE
    assert "--max-step-duration" in only.text
