"""An objective is met only where the numbers show it; no data, too few data and an incapable generator show nothing."""

import math

import pytest

from services.core.counts.histogram import LatencyHistogram
from services.core.slo import GeneratorLimits, Objectives, Observed, Outcome, judge, quantile_s

LIMITS = GeneratorLimits(max_lateness_ms=25, max_busy_share=0.9)


def latencies(**milliseconds: int) -> LatencyHistogram:
    """Build a histogram from counts: ``latencies(ms10=90)`` is 90 answers of 10 ms."""
    histogram = LatencyHistogram()
    for name, count in milliseconds.items():
        histogram.observe(int(name.removeprefix("ms")) / 1e3, count)
    return histogram


def observed(
    latency: LatencyHistogram,
    *,
    failed: int = 0,
    wrong: int = 0,
    window_s: float = 10.0,
    late_ms: float = 1.0,
    busy_share: float | None = 0.2,
) -> Observed:
    lateness = LatencyHistogram()
    lateness.observe(late_ms / 1e3, 100)
    return Observed(
        window_s=window_s,
        offered=latency.total + failed,
        failed=failed,
        latency=latency,
        answers_in_window=latency.total,
        items=latency.total,
        right=latency.total - wrong,
        lateness=lateness,
        busy_share=busy_share,
    )


def outcome(objectives: Objectives, seen: Observed) -> Outcome:
    return judge(objectives, seen, LIMITS).outcome


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        (Objectives(p50_ms=15), Outcome.MET),
        (Objectives(p50_ms=5), Outcome.MISSED),
        (Objectives(p95_ms=15), Outcome.MET),
        (Objectives(p99_ms=15), Outcome.MISSED),
        (Objectives(p99_ms=110), Outcome.MET),
        (Objectives(p50_ms=15, p99_ms=15), Outcome.MISSED),
        (Objectives(throughput_per_s=200), Outcome.MET),
        (Objectives(error_rate=0.01), Outcome.MET),
        (Objectives(correctness=1.0), Outcome.MET),
    ],
)
def test_each_objective_is_held_against_its_own_bound(objectives: Objectives, expected: Outcome) -> None:
    assert outcome(objectives, observed(latencies(ms10=1960, ms100=40))) is expected


@pytest.mark.parametrize("objectives", [Objectives(p99_ms=1), Objectives(error_rate=0.1), Objectives(correctness=0.5)])
def test_no_data_is_void_and_never_met(objectives: Objectives) -> None:
    verdict = judge(objectives, observed(LatencyHistogram()), LIMITS)
    assert verdict.outcome is Outcome.VOID
    assert verdict.reasons
    assert {finding.outcome for finding in verdict.findings} == {Outcome.VOID}
    assert {finding.measured for finding in verdict.findings} == {None}


def test_no_objective_is_void() -> None:
    assert outcome(Objectives(), observed(latencies(ms10=5000))) is Outcome.VOID


@pytest.mark.parametrize(
    ("objectives", "needed"),
    [
        (Objectives(p50_ms=50), 20),
        (Objectives(p95_ms=50), 200),
        (Objectives(p99_ms=50), 1000),
        (Objectives(error_rate=0.01), 300),
        (Objectives(error_rate=0.001), 3000),
        (Objectives(error_rate=0.0), 300),
        (Objectives(correctness=0.98), 150),
    ],
)
def test_an_objective_is_void_below_its_number_of_samples_and_met_from_it_on(
    objectives: Objectives, needed: int
) -> None:
    assert outcome(objectives, observed(latencies(ms10=needed - 1))) is Outcome.VOID
    verdict = judge(objectives, observed(latencies(ms10=needed)), LIMITS)
    assert verdict.outcome is Outcome.MET
    assert [finding.needed for finding in verdict.findings] == [needed]


def test_few_samples_suffice_for_missed_when_chance_cannot_explain_them() -> None:
    # 5 of 100 slower than the p99 bound: P(K >= 5 | 100, 1 %) = 0.0034; 2 of 100 happen in 26 % of good runs.
    assert outcome(Objectives(p99_ms=50), observed(latencies(ms10=95, ms100=5))) is Outcome.MISSED
    assert outcome(Objectives(p99_ms=50), observed(latencies(ms10=98, ms100=2))) is Outcome.VOID
    assert outcome(Objectives(error_rate=0.001), observed(latencies(), failed=20)) is Outcome.MISSED
    assert outcome(Objectives(error_rate=0.0), observed(latencies(ms10=10), failed=1)) is Outcome.MISSED


def test_a_request_without_an_answer_is_slower_than_any_bound() -> None:
    seen = observed(latencies(ms10=980), failed=20)
    verdict = judge(Objectives(p50_ms=15, p99_ms=60_000), seen, LIMITS)
    assert [finding.outcome for finding in verdict.findings] == [Outcome.MET, Outcome.MISSED]
    assert verdict.findings[1].measured == math.inf
    assert quantile_s(seen.latency, 20, 0.98) == pytest.approx(0.010, rel=0.02)
    assert quantile_s(seen.latency, 20, 0.981) == math.inf


def test_throughput_that_was_not_offered_is_void_not_missed() -> None:
    offered_enough = Observed(10.0, 1000, 0, latencies(ms10=1000), 800, 1000, 1000, latencies(ms1=10), 0.1)
    assert outcome(Objectives(throughput_per_s=90), offered_enough) is Outcome.MISSED
    assert outcome(Objectives(throughput_per_s=110), offered_enough) is Outcome.VOID
    assert outcome(Objectives(throughput_per_s=80), offered_enough) is Outcome.MET


def test_wrong_answers_count_against_correctness_alone() -> None:
    seen = observed(latencies(ms10=1000), wrong=30)
    assert outcome(Objectives(correctness=0.97), seen) is Outcome.MET
    assert outcome(Objectives(correctness=0.98), seen) is Outcome.MISSED
    assert outcome(Objectives(error_rate=0.01), seen) is Outcome.MET


@pytest.mark.parametrize(
    ("late_ms", "busy_share", "words"),
    [(40.0, 0.1, "woke up"), (1.0, 0.95, "at its own limit")],
)
def test_an_incapable_generator_makes_even_a_missed_run_void(late_ms: float, busy_share: float, words: str) -> None:
    seen = observed(latencies(ms100=2000), late_ms=late_ms, busy_share=busy_share)
    verdict = judge(Objectives(p99_ms=50), seen, LIMITS)
    assert verdict.outcome is Outcome.VOID
    assert words in verdict.reasons[0]
    assert verdict.findings[0].outcome is Outcome.MISSED


def test_a_generator_that_never_looked_at_its_clock_is_void() -> None:
    seen = Observed(10.0, 2000, 0, latencies(ms10=2000), 2000, 2000, 2000, LatencyHistogram(), 0.1)
    assert outcome(Objectives(p99_ms=50), seen) is Outcome.VOID


def test_an_unknown_busy_share_is_no_objection() -> None:
    assert outcome(Objectives(p99_ms=50), observed(latencies(ms10=2000), busy_share=None)) is Outcome.MET


def test_missed_outweighs_an_objective_without_enough_samples() -> None:
    verdict = judge(Objectives(p50_ms=5, p99_ms=500), observed(latencies(ms10=500)), LIMITS)
    assert [finding.outcome for finding in verdict.findings] == [Outcome.MISSED, Outcome.VOID]
    assert verdict.outcome is Outcome.MISSED


def test_every_finding_names_the_numbers_it_rests_on() -> None:
    seen = observed(latencies(ms10=1900, ms100=90), failed=10, wrong=5)
    objectives = Objectives(p50_ms=20, p95_ms=20, p99_ms=200, error_rate=0.01, throughput_per_s=100, correctness=0.9)
    findings = {finding.objective: finding for finding in judge(objectives, seen, LIMITS).findings}
    assert set(findings) == {"p50_ms", "p95_ms", "p99_ms", "error_rate", "throughput_per_s", "correctness"}
    assert findings["error_rate"].measured == pytest.approx(0.005)
    assert findings["p95_ms"].samples == 2000
    for name in ("p50_ms", "p95_ms", "p99_ms", "error_rate", "correctness"):
        one = findings[name]
        assert one.low is not None
        assert one.high is not None
        assert one.measured is not None
        assert one.low <= one.measured <= one.high
