"""A target is met by a measurement within its bound, and by nothing else."""

import pytest

from loadtest.bench.measure import Case
from loadtest.bench.model import LARGE
from loadtest.bench.report import targets_table
from loadtest.bench.targets import MET, MISSED, NOT_MEASURED, TARGETS, Target, judge


@pytest.mark.parametrize(
    ("at_most", "measured", "verdict"),
    [
        (True, 110.0, MET),
        (True, 110.1, MISSED),
        (False, 110.0, MET),
        (False, 109.9, MISSED),
        (True, None, NOT_MEASURED),
    ],
)
def test_the_bound_itself_is_met(at_most: bool, measured: float | None, verdict: str) -> None:
    assert Target(Case("rest", 32), "gateway_cpu_us", 110.0, at_most).judge(measured).verdict == verdict


def test_what_was_not_measured_is_said_and_not_met() -> None:
    findings = judge({(Case("rest", 32), "ratio"): 0.7})
    assert [one.verdict for one in findings].count(MET) == 1
    assert {one.verdict for one in findings} == {MET, NOT_MEASURED}
    assert "not measured" in targets_table(findings)


def test_the_targets_cover_both_protocols_and_the_image() -> None:
    covered = {(one.case.protocol, one.case.concurrency, one.case.model, one.metric, one.bound) for one in TARGETS}
    for protocol, cpu_us in (("rest", 110.0), ("grpc", 130.0)):
        small = "bench_small"
        assert (protocol, 32, small, "gateway_cpu_us", cpu_us) in covered
        assert (protocol, 32, small, "ratio", 0.65) in covered
        assert (protocol, 1, small, "added_p50_us", 350.0) in covered
        assert {(protocol, 1, LARGE.name, "ratio", 0.75), (protocol, 8, LARGE.name, "ratio", 0.75)} <= covered


def test_the_table_shows_the_figure_beside_its_bound() -> None:
    text = targets_table(judge({(Case("rest", 32), "gateway_cpu_us"): 104.4}))
    assert "| REST, 256 bytes, 32 connections: gateway CPU per request | at most 110 us | 104 us | met |" in text
