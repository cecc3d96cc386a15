"""A leak is found, and what only looks like one is not: by simulation, because this check has no error bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pytest

from services.core.analysis.assessment import Terms, assess
from services.core.analysis.checks.memory import memory
from services.core.analysis.verdict import Check, Outcome
from services.core.counts.tally import Tally
from services.core.memory.course import MOST_SAMPLES, MemoryCourse, MemoryReading, MemorySample
from services.core.memory.report import MemoryReport, MemoryReports, Space, VersionMemory
from services.core.memory.terms import MIB, LeakCheck, MemoryTerms
from services.core.rollouts.evidence import Evidence, Seen
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.rollout_spec import AnalysisConfig
from services.core.route import Arm

STABLE, CANDIDATE = ("m", 1), ("m", 2)
TERMS = MemoryTerms()
BASE_MIB = 300.0
SEEDS = range(40)
Shape = Callable[[float], float]
"""MiB beyond the base after so many seconds."""


def flat(_: float) -> float:
    return 0.0


def leak(mib_per_min: float) -> Shape:
    return lambda s: mib_per_min * s / 60


def plateau(mib: float, within_s: float) -> Shape:
    return lambda s: mib * (1 - math.exp(-s / within_s))


def saw_tooth(mib: float, period_s: float, phase: float = 0.0) -> Shape:
    return lambda s: mib * ((s / period_s + phase) % 1.0)


def report(
    stable_mib: float, candidate_mib: float, started: tuple[float, float] = (5.0, 6.0), left_mib: float = 4096.0
) -> MemoryReport:
    versions = {
        version: VersionMemory(int(mib * MIB), 1, at)
        for version, mib, at in zip((STABLE, CANDIDATE), (stable_mib, candidate_mib), started, strict=True)
    }
    return MemoryReport(Space(8192 * MIB, int(left_mib * MIB)), versions=versions)


def course(
    candidate: Shape,
    stable: Shape = flat,
    *,
    seconds: int = 3600,
    noise_mib: float = 1.0,
    wander_mib: float = 0.3,
    seed: int = 0,
    terms: MemoryTerms = TERMS,
    per_s: tuple[float, float] = (50.0, 50.0),
) -> tuple[MemoryCourse, float | None]:
    """Sample two shapes with noise and a random walk; return the course and when a leak was called first."""
    chance = np.random.default_rng(seed)
    seen, walk, called = MemoryCourse(), np.zeros(2), None
    for number in range(1, int(seconds / terms.interval_s)):
        at = number * terms.interval_s
        walk += chance.normal(0.0, wander_mib, 2)
        jitter = walk + np.abs(chance.normal(0.0, noise_mib, 2))
        shapes = (BASE_MIB + stable(at) + jitter[0], BASE_MIB + candidate(at) + jitter[1])
        answers = (int(per_s[0] * at), int(per_s[1] * at))
        reading = MemoryReading(at, MemoryReports({"t:8000": report(*shapes)}))
        seen = seen.with_reading(reading, (STABLE, CANDIDATE), answers)
        if memory(terms, seen).outcome is Outcome.FAIL:
            called = at
            break
    return seen, called


def said(shape: Shape, **how: object) -> Check:
    return memory(TERMS, course(shape, **how)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "shape",
    [
        flat,
        plateau(150.0, 60.0),
        plateau(300.0, 240.0),
        lambda s: 80.0 if s > 900 else 0.0,
        saw_tooth(40.0, 45.0),
        saw_tooth(60.0, 170.0),
        saw_tooth(60.0, 290.0),
    ],
    ids=["flat", "fast plateau", "slow plateau", "one jump", "45 s", "170 s", "290 s"],
)
def test_what_grows_once_or_is_given_back_is_never_called_a_leak(shape: Shape) -> None:
    called = [seed for seed in SEEDS if course(shape, seed=seed)[1] is not None]
    assert called == []


def test_growth_that_slows_down_without_an_end_is_seldom_called_a_leak() -> None:
    called = [seed for seed in SEEDS if course(lambda s: 20 * math.log1p(s / 60), seed=seed)[1] is not None]
    assert len(called) <= len(SEEDS) // 5, "beside a random walk of the same size it cannot be told apart for certain"
    calm = [seed for seed in SEEDS if course(lambda s: 40 * math.log1p(s / 60), seed=seed, wander_mib=0.0)[1]]
    assert calm == []


@pytest.mark.parametrize("mib_per_min", [2.0, 3.0, 10.0])
def test_a_leak_of_a_few_mib_a_minute_is_found(mib_per_min: float) -> None:
    found = [course(leak(mib_per_min), seed=seed)[1] for seed in SEEDS]
    assert None not in found
    assert max(at for at in found if at is not None) <= 2400.0


@pytest.mark.parametrize("period_s", [45.0, 170.0])
def test_a_leak_is_found_under_a_garbage_collector(period_s: float) -> None:
    tooth, drip = saw_tooth(20.0, period_s), leak(4.0)
    found = [course(lambda s: tooth(s) + drip(s), seed=seed)[1] for seed in SEEDS]
    assert None not in found


def test_a_leak_that_begins_after_a_plateau_is_found() -> None:
    filled, drip = plateau(200.0, 60.0), leak(4.0)
    assert course(lambda s: filled(s) + drip(s))[1] is not None


def test_what_stable_does_as_well_is_not_the_candidates_harm() -> None:
    assert course(leak(4.0), leak(4.0))[1] is None
    # The candidate has nine times the answers, and leaks with each of them as stable does.
    assert course(leak(9.0), leak(1.0), per_s=(10.0, 90.0))[1] is None
    assert course(leak(9.0), leak(1.0))[1] is not None


def test_the_verdict_forecasts_when_memory_is_full_and_says_that_it_has_no_error_bound() -> None:
    check = said(leak(10.0), noise_mib=0.1, wander_mib=0.0)
    assert check.outcome is Outcome.FAIL
    assert check.numbers["candidate_bytes_per_h"] == pytest.approx(600 * MIB, rel=0.02)
    assert check.numbers["candidate_bytes_per_million_answers"] == pytest.approx(10 / 60 / 50 * 1e6 * MIB, rel=0.02)
    assert check.numbers["full_s"] == pytest.approx(4096 / 600 * 3600, rel=0.02)
    assert "full in about 6.8 h at this rate" in check.text
    assert "no error bound" in check.text


def test_growth_within_the_tolerance_passes_and_silence_does_not() -> None:
    assert said(leak(0.5)).outcome is Outcome.PASS
    assert memory(TERMS, MemoryCourse()).outcome is Outcome.INCONCLUSIVE
    assert said(flat, seconds=300).outcome is Outcome.INCONCLUSIVE
    whole, _ = course(flat)
    silent = replace(whole, problem="t:8000: it does not answer")
    check = memory(TERMS, silent)
    assert (check.outcome, "does not answer" in check.text) == (Outcome.INCONCLUSIVE, True)
    assert memory(TERMS, replace(course(leak(10.0))[0], problem="x")).outcome is Outcome.FAIL, "it was shown before"


@pytest.mark.parametrize("mib_per_min", [0.0, 6.0])
def test_what_noise_leaves_room_for_is_not_told_before_it_is_sure(mib_per_min: float) -> None:
    tooth, drip = saw_tooth(200.0, 170.0), leak(mib_per_min)
    early = [said(lambda s: tooth(s) + drip(s), seed=seed, seconds=660) for seed in SEEDS]
    if mib_per_min:
        assert Outcome.PASS not in {one.outcome for one in early}
    unsure = [one for one in early if one.outcome is Outcome.INCONCLUSIVE]
    assert len(unsure) > len(SEEDS) / 2
    for one in unsure:
        more_s, most = one.numbers["more_s"], one.numbers["surely_at_most_bytes_per_h"]
        assert isinstance(most, float)
        assert most > one.numbers["allowed_bytes_per_h"]  # type: ignore[operator]
        assert more_s is None or f"needs about {more_s / 60:.0f} more minutes to tell" in one.text
    late = {said(lambda s: tooth(s) + drip(s), seed=seed, seconds=7200).outcome for seed in range(4)}
    assert late == {Outcome.FAIL if mib_per_min else Outcome.PASS}


def test_watching_holds_up_no_step_and_requiring_does() -> None:
    def outcomes(check: LeakCheck, seen: MemoryCourse) -> list[Outcome]:
        terms = Terms(AnalysisConfig(), 50, 1, 1, final=False, memory=replace(TERMS, leak_check=check))
        return [one.outcome for one in assess(terms, Seen(memory=seen)).checks if one.name == "memory"]

    leaking, _ = course(leak(10.0))
    steady, _ = course(flat)
    assert [outcomes(LeakCheck.WATCH, seen) for seen in (MemoryCourse(), leaking, steady)] == [
        [],
        [Outcome.FAIL],
        [Outcome.PASS],
    ]
    assert outcomes(LeakCheck.REQUIRE, MemoryCourse()) == [Outcome.INCONCLUSIVE]
    assert outcomes(LeakCheck.OFF, leaking) == []


def test_samples_stay_bounded_and_keep_the_smallest_amounts_of_the_whole_time() -> None:
    seen, _ = course(saw_tooth(50.0, 40.0), seconds=200_000)
    server = seen.servers["t:8000"]
    assert MOST_SAMPLES / 2 <= len(server.samples) <= MOST_SAMPLES
    assert server.samples[-1].at == 199_990.0
    assert server.samples[0].at <= 2 * server.per_sample * TERMS.interval_s
    spread = [sample.at for sample in server.samples]
    assert spread == sorted(spread)
    assert server.in_last <= server.per_sample
    assert max(sample.candidate_bytes for sample in server.samples[:-1]) < (BASE_MIB + 25) * MIB


def test_another_process_begins_anew_and_only_four_servers_are_watched() -> None:
    seen, _ = course(flat)
    reports = MemoryReports({"t:8000": report(300, 300, started=(5.0, 7.0))})
    after = seen.with_reading(MemoryReading(9999.0, reports), (STABLE, CANDIDATE), (1, 1))
    assert (len(after.servers["t:8000"].samples), after.servers["t:8000"].restarts) == (1, 1)
    many = MemoryReports({f"t{number}:8000": report(300, 300) for number in range(9)})
    full = MemoryCourse().with_reading(MemoryReading(1.0, many), (STABLE, CANDIDATE), (0, 0))
    assert sorted(full.servers) == ["t0:8000", "t1:8000", "t2:8000", "t3:8000"]


def looked(seen: MemoryCourse, at: float, known: set[str], problems: Collection[str] = ()) -> MemoryCourse:
    reports = MemoryReports({name: report(300, 300) for name in known}, dict.fromkeys(problems, "no answer"))
    return seen.with_reading(MemoryReading(at, reports), (STABLE, CANDIDATE), (1, 1))


def test_a_server_that_is_gone_holds_nothing_up() -> None:
    """One of two pods is replaced while the course runs: its address is listed no more."""
    seen = MemoryCourse()
    for at in range(0, 1000, 10):
        seen = looked(seen, at + 1.0, {"a:8000", "b:8000"} if at < 300 else {"a:8000", "c:8000"})
    assert sorted(seen.servers) == ["a:8000", "c:8000"]
    assert memory(TERMS, seen).outcome is Outcome.PASS
    assert 650.0 < seen.watched_s < 700.0


def test_a_server_that_misses_a_look_keeps_its_place_and_its_samples() -> None:
    names = {f"{letter}:8000" for letter in "abcde"}
    seen = MemoryCourse()
    for number in range(100):
        missing = {"a:8000"} if number % 9 == 5 else set()
        seen = looked(seen, 1.0 + 10 * number, names - missing, missing)
    assert sorted(seen.servers) == ["a:8000", "b:8000", "c:8000", "d:8000"]
    assert 950.0 < seen.watched_s < 1000.0
    assert memory(TERMS, seen).outcome is Outcome.PASS


def test_what_happens_to_servers_that_nobody_watches_is_no_problem_and_a_look_that_found_none_loses_nothing() -> None:
    names = {f"{letter}:8000" for letter in "abcd"}
    seen = looked(MemoryCourse(), 1.0, names)
    assert looked(seen, 2.0, names, {"e:8000"}).problem == ""
    assert looked(seen, 2.0, names - {"d:8000"}, {"d:8000"}).problem == "d:8000: no answer"
    nothing = looked(seen, 2.0, set())
    assert (nothing.servers, nothing.problem) == (seen.servers, "no Triton is known yet")


def test_a_server_that_does_not_tell_versions_apart_is_no_evidence() -> None:
    whole = MemoryReports({"t:8000": MemoryReport(Space(8192 * MIB, 4096 * MIB))})
    seen = MemoryCourse().with_reading(MemoryReading(1.0, whole), (STABLE, CANDIDATE), (0, 0))
    assert seen.servers == {}
    assert "tell the memory of both versions apart" in seen.problem


def test_a_step_goes_on_with_the_memory_of_the_one_before_and_adds_up_its_answers() -> None:
    reading = MemoryReading(1.0, MemoryReports({"t:8000": report(300, 300)}))
    first = Evidence().with_memory(reading, STABLE, CANDIDATE)
    later = MemoryReading(2.0, reading.reports)
    second = replace(first.next_step()).with_memory(later, STABLE, CANDIDATE)
    assert len(second.memory.servers["t:8000"].samples) == 2
    again = second.with_memory(later, STABLE, CANDIDATE)
    assert again is second, "the same look counts once"


def test_every_further_arm_has_a_course_of_its_own_beside_stable() -> None:
    third = ("m", 3)
    both = report(300, 300)
    reports = MemoryReports(
        {"t:8000": replace(both, versions={**both.versions, third: VersionMemory(7 * MIB, 1, 9.0)})}
    )
    seen = Evidence(stable=Tally(90), candidate=Tally(60), arms={3: Tally(30)})
    seen = seen.with_memory(MemoryReading(1.0, reports), STABLE, CANDIDATE, (3,))
    (sample,) = seen.arms_memory[3].servers["t:8000"].samples
    assert sample == MemorySample(1.0, 300 * MIB, 7 * MIB, 90, 30)
    after = seen.next_step().with_memory(MemoryReading(2.0, reports), STABLE, CANDIDATE, (3,))
    assert after.arms_memory[3].servers["t:8000"].samples[-1] == MemorySample(2.0, 300 * MIB, 7 * MIB, 90, 30)
    assert after.with_memory(MemoryReading(2.0, reports), STABLE, CANDIDATE, (3,)) is after
    without = after.with_memory(MemoryReading(3.0, MemoryReports({"t:8000": both})), STABLE, CANDIDATE, (3,))
    assert (without.memory.problem, without.arms_memory[3].problem != "") == ("", True)


@pytest.mark.parametrize("arm", [2, 3])
def test_a_leak_of_any_arm_fails_and_names_it(arm: int) -> None:
    leaking, steady = course(leak(10))[0], course(flat)[0]
    experiment = Experiment(OutcomeSpec("clicked"), (Arm(3, 30),))
    seen = Seen(memory=leaking if arm == 2 else steady, arms_memory={3: leaking if arm == 3 else steady})
    terms = Terms(AnalysisConfig(), 30, 1, 1, final=False, experiment=experiment, versions=(1, 2, 3))
    verdict = assess(terms, seen)
    named = "memory" if arm == 2 else "memory of 3"
    assert [check.name for check in verdict.checks if check.outcome is Outcome.FAIL] == [named]
    who = "the candidate" if arm == 2 else "version 3"
    assert f"memory: on t:8000 {who} went from" in verdict.text


def test_an_a_b_test_that_asks_for_it_waits_until_every_arm_was_watched() -> None:
    steady, short = course(flat)[0], course(flat, seconds=120)[0]
    experiment = Experiment(OutcomeSpec("clicked"), (Arm(3, 30),))
    required = replace(TERMS, leak_check=LeakCheck.REQUIRE)
    terms = Terms(AnalysisConfig(), 30, 1, 1, final=False, memory=required, experiment=experiment, versions=(1, 2, 3))
    checks = {check.name: check for check in assess(terms, Seen(memory=steady, arms_memory={3: short})).checks}
    assert (checks["memory"].outcome, checks["memory of 3"].outcome) == (Outcome.PASS, Outcome.INCONCLUSIVE)
    assert "watched for 100 s" in checks["memory of 3"].text
    watching = replace(terms, memory=TERMS)
    checks = {check.name: check for check in assess(watching, Seen(memory=steady, arms_memory={3: short})).checks}
    assert "memory of 3" not in checks
