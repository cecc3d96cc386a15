from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.analysis.assessment import assess
from services.core.analysis.verdict import Check, Outcome, Verdict
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.errors import Conflict
from services.core.inventory import Inventory
from services.core.mirror import Mirror
from services.core.rollouts.actions import LoadVersions, SetRoute, WarmVersions, actions_of, route_of
from services.core.rollouts.custom_metric import CustomMetric, Measurements, Reading
from services.core.rollouts.event import VERBS, Event, EventKind
from services.core.rollouts.evidence import Evidence, Sighting
from services.core.rollouts.explanation import explain_rollout
from services.core.rollouts.history import beginning, entry_of
from services.core.rollouts.judgement import judge
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import STEPS_OF, OnInconclusive, RolloutSpec, Step, Strategy
from services.core.rollouts.transitions import TRANSITIONS, advance, verbs_in
from services.core.rollouts.transitions_diagram import diagram, section_in
from services.core.route import Route

SPEC = RolloutSpec("digits", 2, steps=(Step(5, 10, 20), Step(25, 10, 20), Step(50, 10, 20)), max_step_duration_s=100)
ROOT = Path(__file__).parents[3]


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(outcome, (Check("errors", outcome, {}, f"the words of {outcome.value}"),))


def in_phase(phase: Phase, **changes: object) -> Rollout:
    return replace(new_rollout(SPEC, 1, 0.0), number=7, phase=phase, **changes)  # type: ignore[arg-type]


def ready(versions: set[int]) -> Inventory:
    return Inventory({"one": {"digits": frozenset(versions)}})


def tally(requests: int) -> Tally:
    latency = LatencyHistogram()
    latency.observe(0.01, requests)
    return Tally(requests, latency=latency)


def settled(rollout: Rollout) -> Rollout:
    """Return a rollout whose evidence was looked at."""
    return replace(rollout, verdict=assess(rollout.terms, rollout.evidence.seen))


def happened(kind: EventKind, outcome: Outcome | None = None) -> Event:
    return Event(kind, verdict=verdict(outcome) if outcome else None)


def test_a_canary_that_passes_every_step_is_promoted() -> None:
    rollout, now = new_rollout(SPEC, 1, 0.0), 0.0
    for ready in (EventKind.LOADED, EventKind.WARMED):
        rollout, _ = advance(rollout, Event(ready), now)
    weights = [rollout.weight_percent]
    while rollout.phase is Phase.PROGRESSING:
        now += 10
        rollout, _ = advance(rollout, happened(EventKind.ASSESSED, Outcome.PASS), now)
        weights.append(rollout.weight_percent)
    assert weights == [5, 25, 50, 100]
    assert rollout.phase is Phase.PROMOTING
    rollout, actions = advance(rollout, Event(EventKind.DRAINED), now)
    assert rollout.phase is Phase.PROMOTED
    assert LoadVersions("digits", frozenset({2})) in actions


def test_a_pass_before_the_step_is_over_does_not_raise_the_weight() -> None:
    rollout = in_phase(Phase.PROGRESSING)
    after, _ = advance(rollout, happened(EventKind.ASSESSED, Outcome.PASS), 9.9)
    assert (after.phase, after.step) == (Phase.PROGRESSING, 0)
    assert after.verdict == verdict(Outcome.PASS)


def test_a_step_is_judged_by_nothing_that_was_seen_before_it() -> None:
    place = {"worker-1": Sighting(3, 9, Tally(500), Tally(100))}
    rollout = in_phase(Phase.PROGRESSING, evidence=Evidence(Tally(500), Tally(100), place))
    after, _ = advance(rollout, happened(EventKind.ASSESSED, Outcome.PASS), 10.0)
    assert after.step == 1
    assert (after.evidence.stable, after.evidence.candidate) == (Tally(), Tally())
    assert after.evidence.cursors == place
    assert after.step_entered_at == 10.0


@pytest.mark.parametrize("outcome", [Outcome.INCONCLUSIVE, Outcome.ERROR])
def test_neither_silence_nor_an_error_raises_the_weight(outcome: Outcome) -> None:
    after, _ = advance(in_phase(Phase.PROGRESSING), happened(EventKind.ASSESSED, outcome), 99.0)
    assert (after.phase, after.step) == (Phase.PROGRESSING, 0)


@pytest.mark.parametrize("phase", [Phase.PROGRESSING, Phase.PAUSED])
def test_harm_rolls_back_also_in_a_pause(phase: Phase) -> None:
    after, actions = advance(in_phase(phase), happened(EventKind.ASSESSED, Outcome.FAIL), 1.0)
    assert after.phase is Phase.ROLLING_BACK
    assert "the words of fail" in after.reason
    route = next(action.route for action in actions if isinstance(action, SetRoute))
    assert (route.stable, route.candidate, route.weight_percent) == (1, None, 0)


def test_harm_rolls_back_also_while_a_metric_is_lost() -> None:
    metric = CustomMetric("queue", "up", at_most=5.0, consecutive_error_limit=0)
    spec = replace(SPEC, metrics=(metric,), on_inconclusive=OnInconclusive.PAUSE)
    lost = Measurements().with_reading(metric, Reading(1.0, None, "no answer"))
    rollout = in_phase(Phase.PROGRESSING, spec=spec, evidence=Evidence(measurements={"queue": lost}))
    event = judge(rollout, 1.0)
    assert event is not None
    paused, _ = advance(rollout, event, 1.0)
    assert (paused.phase, paused.weight_percent) == (Phase.PAUSED, 5)
    harmed = replace(paused, evidence=replace(paused.evidence, stable=tally(5000), candidate=Tally(300, failed=300)))
    event = judge(harmed, 2.0)
    assert event is not None
    after, _ = advance(harmed, event, 2.0)
    assert after.phase is Phase.ROLLING_BACK
    assert "bad answers: candidate 100.00 %" in after.reason


def test_rates_are_told_of_the_time_in_which_the_evidence_was_seen() -> None:
    spec = replace(SPEC, on_inconclusive=OnInconclusive.PAUSE)
    rollout = settled(in_phase(Phase.PROGRESSING, spec=spec))
    event = judge(rollout, 100.1)
    assert event is not None
    paused, _ = advance(rollout, event, 100.1)
    resumed, _ = advance(paused, Event(EventKind.RESUME, "ada"), 160.0)
    assert (resumed.evidence_since, resumed.step_entered_at) == (0.0, 160.0)
    assert "Step 1 of 3 began 3 min ago." in " ".join(explain_rollout(resumed, (), None, 180.0))
    following, _ = advance(resumed, happened(EventKind.ASSESSED, Outcome.PASS), 180.0)
    assert (following.step, following.evidence_since) == (1, 180.0)


def test_the_candidate_stays_loaded_until_the_gateways_have_let_go() -> None:
    rollout = in_phase(Phase.ROLLING_BACK)
    load = next(action for action in actions_of(rollout) if isinstance(action, LoadVersions))
    assert load.holds(ready({1, 2}))
    assert load.holds(ready({1}))
    assert not load.holds(ready({2}))
    assert not load.holds(ready({1, 3}))
    over, actions = advance(rollout, Event(EventKind.DRAINED), 5.0)
    load = next(action for action in actions if isinstance(action, LoadVersions))
    assert not load.holds(ready({1, 2}))
    assert load.holds(ready({1}))
    assert over.phase is Phase.ROLLED_BACK


def test_why_it_was_rolled_back_is_still_said_when_it_is_over() -> None:
    rollout, _ = advance(in_phase(Phase.PROGRESSING), happened(EventKind.ASSESSED, Outcome.FAIL), 1.0)
    over, _ = advance(rollout, Event(EventKind.DRAINED), 2.0)
    assert "the words of fail" in over.reason


def test_a_pause_takes_nothing_from_the_steps_time() -> None:
    rollout = in_phase(Phase.PROGRESSING, step_entered_at=0.0)
    paused, _ = advance(rollout, Event(EventKind.PAUSE, "ada"), 4.0)
    resumed, _ = advance(paused, Event(EventKind.RESUME, "ada"), 1004.0)
    assert resumed.step_entered_at == 1000.0
    assert not resumed.step_is_over(1009.9)
    assert resumed.step_is_over(1010.0)
    assert judge(settled(resumed), 1099.0) is None


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_taken_where_it_is_announced_and_refused_with_words_elsewhere(phase: Phase, verb: EventKind) -> None:
    rollout = in_phase(phase)
    if verb in verbs_in(phase):
        after, _ = advance(rollout, Event(verb, "ada"), 1.0)
        assert after.phase is not phase
        assert "ada" in after.reason
        return
    with pytest.raises(Conflict) as refusal:
        advance(rollout, Event(verb, "ada"), 1.0)
    for word in ("digits-7", phase.value, verb.value, *(other.value for other in verbs_in(phase))):
        assert word in str(refusal.value)


def test_every_row_can_be_reached_in_order() -> None:
    """No row is hidden behind one without a guard for the same phase and event."""
    closed = set()
    for row in TRANSITIONS:
        assert (row.source, row.event) not in closed
        if row.guard is None:
            closed.add((row.source, row.event))


def test_every_phase_leads_to_an_end_and_no_end_leads_on() -> None:
    leads_on = {phase: {row.target for row in TRANSITIONS if row.source is phase} for phase in Phase}
    for phase in Phase:
        reachable, frontier = {phase}, {phase}
        while frontier:
            frontier = {target for source in frontier for target in leads_on[source]} - reachable
            reachable |= frontier
        assert any(each.terminal for each in reachable)
        assert not (phase.terminal and leads_on[phase])


EVENTS = st.builds(happened, st.sampled_from(list(EventKind)), st.one_of(st.none(), st.sampled_from(list(Outcome))))


@settings(max_examples=300)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 60)), max_size=40))
def test_whatever_happens_the_weight_rises_only_by_a_pass_or_a_persons_word(
    happenings: list[tuple[Event, float]],
) -> None:
    rollout, now = new_rollout(SPEC, 1, 0.0), 0.0
    for event, later in happenings:
        now += later
        try:
            after, actions = advance(rollout, event, now)
        except Conflict:
            continue
        assert not rollout.phase.terminal
        assert actions == actions_of(after)
        if after.weight_percent > rollout.weight_percent and not rollout.phase.early:
            passed = event.verdict is not None and event.verdict.outcome is Outcome.PASS
            assert event.kind is EventKind.PROMOTE or (passed and event.kind is EventKind.ASSESSED)
            if event.kind is EventKind.ASSESSED:
                assert after.verdict is event.verdict
                assert rollout.step_is_over(now)
        entry = entry_of(rollout, after, event, now)
        changed = (rollout.phase, rollout.step) != (after.phase, after.step)
        assert (entry is not None) == changed
        if entry is not None:
            assert entry.reason
        route = next(action.route for action in actions if isinstance(action, SetRoute))
        load = next(action for action in actions if isinstance(action, LoadVersions))
        assert route.versions <= load.versions, "a route names only versions that are to be loaded"
        assert route.weight_percent == (after.weight_percent if after.phase.weighted else 0)
        assert after.evidence.candidate.requests == 0
        rollout = after


def test_the_evidence_is_looked_at_at_every_tick_and_kept_where_it_says_something_new() -> None:
    rollout = settled(in_phase(Phase.PROGRESSING))
    assert judge(rollout, 1.0) is None
    for requests in (1, 2, 3):
        event = judge(replace(rollout, evidence=Evidence(Tally(10), Tally(requests))), 1.0)
        assert event is not None
        assert event.kind is EventKind.ASSESSED


def test_a_pass_is_asked_for_again_when_the_steps_time_is_over() -> None:
    rollout = settled(in_phase(Phase.PROGRESSING, evidence=Evidence(tally(500), tally(25))))
    assert rollout.verdict is not None
    assert rollout.verdict.outcome is Outcome.PASS
    assert judge(rollout, 9.0) is None
    event = judge(rollout, 10.0)
    assert event is not None
    after, _ = advance(rollout, event, 10.0)
    assert (after.phase, after.step) == (Phase.PROGRESSING, 1)


def test_a_step_without_a_pass_is_rolled_back_when_its_longest_time_is_over() -> None:
    rollout = settled(in_phase(Phase.PROGRESSING))
    assert judge(rollout, 100.0) is None
    event = judge(rollout, 100.1)
    assert event is not None
    after, _ = advance(rollout, event, 100.1)
    assert after.phase is Phase.ROLLING_BACK
    assert after.reason.startswith("inconclusive")


def test_it_waits_for_a_person_where_that_was_asked_for_and_its_time_begins_again() -> None:
    spec = replace(SPEC, on_inconclusive=OnInconclusive.PAUSE)
    rollout = settled(in_phase(Phase.PROGRESSING, spec=spec))
    event = judge(rollout, 100.1)
    assert event is not None
    paused, _ = advance(rollout, event, 100.1)
    assert (paused.phase, paused.weight_percent) == (Phase.PAUSED, 5)
    assert paused.reason.startswith("inconclusive")
    assert judge(paused, 5000.0) is None
    resumed, _ = advance(paused, Event(EventKind.RESUME, "ada"), 5000.0)
    assert resumed.step_entered_at == 5000.0
    assert judge(resumed, 5100.0) is None
    assert judge(resumed, 5100.1) is not None


def test_evidence_that_passes_at_the_last_moment_passes() -> None:
    rollout = in_phase(Phase.PROGRESSING, evidence=Evidence(tally(500), tally(25)))
    event = judge(rollout, 100.1)
    assert event is not None
    after, _ = advance(rollout, event, 100.1)
    assert (after.phase, after.step) == (Phase.PROGRESSING, 1)


def test_a_candidate_that_is_not_loaded_in_time_has_failed() -> None:
    rollout = in_phase(Phase.PREPARING)
    event = judge(rollout, 100.1)
    assert event is not None
    after, _ = advance(rollout, event, 100.1)
    assert after.phase is Phase.FAILED


def test_a_version_gets_no_traffic_before_it_is_warm_nor_one_that_does_not_answer_as_it_was_built() -> None:
    loaded, actions = advance(in_phase(Phase.PREPARING), Event(EventKind.LOADED), 1.0)
    assert (loaded.phase, loaded.weight_percent) == (Phase.WARMING, 0)
    assert WarmVersions("digits", (2,)) in actions
    assert SetRoute(Route("digits", 1, versions=frozenset({1}))) in actions
    warm, _ = advance(loaded, Event(EventKind.WARMED, reason="12 -> 3 ms"), 2.0)
    assert (warm.phase, warm.weight_percent) == (Phase.PROGRESSING, 5)
    assert "12 -> 3 ms" in warm.reason
    other, _ = advance(loaded, Event(EventKind.WARM_FAILED, reason="off by 7"), 2.0)
    assert other.phase is Phase.FAILED
    assert "gets no traffic: off by 7" in other.reason
    late = judge(loaded, 101.1)
    assert late is not None
    assert "not warm within" in late.reason


def test_a_clock_that_jumps_back_holds_the_step() -> None:
    rollout = settled(in_phase(Phase.PROGRESSING, step_entered_at=1000.0, evidence=Evidence(tally(500), tally(25))))
    assert judge(rollout, 0.0) is None


def of_strategy(strategy: Strategy) -> Rollout:
    steps = tuple(replace(step, duration_s=10, min_requests=20) for step in STEPS_OF[strategy])
    return new_rollout(RolloutSpec("digits", 2, strategy, steps), 1, 0.0)


def path_of(rollout: Rollout, passes: int) -> list[tuple[Phase, int, Mirror | None]]:
    """Return phase, weight and mirror on the way of a rollout that passes so many steps."""
    now = 0.0
    way: list[tuple[Phase, int, Mirror | None]] = []
    events = [Event(EventKind.LOADED), Event(EventKind.WARMED)]
    events += [happened(EventKind.ASSESSED, Outcome.PASS)] * passes + [Event(EventKind.DRAINED)]
    for event in events:
        now += 10
        rollout, actions = advance(rollout, event, now)
        route = next(action.route for action in actions if isinstance(action, SetRoute))
        assert route == route_of(rollout)
        way.append((rollout.phase, rollout.weight_percent, route.mirror))
    return way


def test_blue_green_is_checked_on_copies_then_switched_at_once_and_watched() -> None:
    assert path_of(of_strategy(Strategy.BLUE_GREEN), 2) == [
        (Phase.WARMING, 0, None),
        (Phase.PROGRESSING, 0, Mirror(2, 100, 5)),
        (Phase.PROGRESSING, 100, Mirror(1, 20, 5)),
        (Phase.PROMOTING, 100, None),
        (Phase.PROMOTED, 100, None),
    ]


def test_the_way_back_from_blue_green_is_one_step_and_stable_stays_loaded_for_it() -> None:
    rollout = replace(of_strategy(Strategy.BLUE_GREEN), phase=Phase.PROGRESSING, step=1)
    load = next(action for action in actions_of(rollout) if isinstance(action, LoadVersions))
    assert load.versions == {1, 2}
    back, actions = advance(rollout, happened(EventKind.ASSESSED, Outcome.FAIL), 1.0)
    assert (back.phase, back.weight_percent) == (Phase.ROLLING_BACK, 0)
    assert SetRoute(Route("digits", 1, versions=frozenset({1}))) in actions


def test_a_shadow_never_gets_traffic_and_ends_without_a_promotion() -> None:
    assert path_of(of_strategy(Strategy.SHADOW), 1) == [
        (Phase.WARMING, 0, None),
        (Phase.PROGRESSING, 0, Mirror(2, 100, 5)),
        (Phase.CONCLUDING, 0, None),
        (Phase.CONCLUDED, 0, None),
    ]


def test_a_verdict_in_the_history_can_be_made_again() -> None:
    rollout = in_phase(Phase.PROGRESSING, evidence=Evidence(Tally(500), Tally(100, failed=100)))
    event = judge(rollout, 1.0)
    assert event is not None
    after, _ = advance(rollout, event, 1.0)
    entry = entry_of(rollout, after, event, 1.0)
    assert entry is not None
    assert entry.judged is not None
    assert entry.judged.replayed() == entry.judged.verdict == event.verdict


def test_the_history_begins_with_who_started_it() -> None:
    entry = beginning(new_rollout(SPEC, 1, 5.0), "ada")
    assert (entry.actor, entry.event, entry.source, entry.at) == ("ada", "start", None, 5.0)


def test_the_picture_in_the_architecture_is_the_table() -> None:
    section = section_in((ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    if section is None:
        pytest.skip("ARCHITECTURE.md has no transitions section")
    assert section == diagram()


def test_the_picture_has_every_row_once() -> None:
    picture = diagram().splitlines()
    assert len(picture) == len(set(picture))
    assert sum(" --> " in line and "[*]" not in line for line in picture) == len(TRANSITIONS)
    assert section_in(f"a\n<!-- transitions:begin -->\n{diagram()}\n<!-- transitions:end -->\n") == diagram()
