"""The benchmark believes only requests that succeeded, and compares the two runs of one round with each other."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.bench.h2load import Shot, find_h2load, parse, read_log
from loadtest.bench.measure import Case, Sample
from loadtest.bench.report import Spread, as_json, compare, markdown
from loadtest.bench.targets import judge
from services.core.errors import MissingDependency, PenstockError

OUTPUT = """starting benchmark...
finished in 50.52ms, 3959.22 req/s, 534.42KB/s
requests: 200 total, 200 started, 200 done, {ok} succeeded, {bad} failed, 0 errored, 0 timeout
status codes: {ok} 2xx, 0 3xx, {bad} 4xx, 0 5xx
"""
FACTS = {
    "date": "2026-11-20",
    "cpu": "A CPU",
    "cores": 2,
    "workers": 2,
    "triton": "2.51.0",
    "python": "3.11",
    "h2load": "h2load",
    "rounds": 3,
}


def test_the_rate_is_read_from_a_run_without_failures() -> None:
    assert parse(OUTPUT.format(ok=200, bad=0), 200, "url") == 3959.22


@pytest.mark.parametrize("output", [OUTPUT.format(ok=199, bad=1), "", "unknown option\n"])
def test_a_run_with_a_failure_or_without_an_end_is_no_measurement(output: str) -> None:
    with pytest.raises(PenstockError, match="http://target"):
        parse(output, 200, "http://target")


def test_the_log_gives_the_latency_of_each_request(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1\t200\t300\n2\t200\t100\n3\t200\t200\n4\t200\t400\n")
    shot = Shot(4, 1.0, read_log(log, 4), 0.0)
    assert [shot.quantile_us(q) for q in (0.01, 0.5, 0.75, 0.99)] == [100, 200, 300, 400]
    with pytest.raises(PenstockError, match="5 requests"):
        read_log(log, 5)
    log.write_text("1\t503\t300\n")
    with pytest.raises(PenstockError, match="status 200"):
        read_log(log, 1)


def samples() -> list[Sample]:
    """Three rounds of one case: the second was disturbed, both sides alike."""
    case = Case("rest", 8)
    rates = [(1000.0, 500.0), (400.0, 200.0), (1200.0, 480.0)]
    return [
        Sample(case, side, 100, rate, 1e6 / rate, 2e6 / rate, 60.0 if side == "gateway" else 0.0, 200.0, 10.0, 0.05)
        for pair in rates
        for side, rate in zip(("direct", "gateway"), pair, strict=True)
    ]


def test_ratios_and_added_latency_come_from_the_runs_of_one_round() -> None:
    (one,) = compare(samples())
    assert one.direct_per_s == Spread(1000.0, 400.0, 1200.0)
    assert one.ratio == Spread(0.5, 0.4, 0.5)
    assert one.added_p50_us.median == pytest.approx(1250.0)
    assert one.gateway_cpu_us == Spread(60.0, 60.0, 60.0)


def test_a_further_gateway_is_compared_with_the_same_direct_runs() -> None:
    further = [replace(one, side="traced", requests_per_s=one.requests_per_s / 2) for one in samples()[1::2]]
    plain, traced = compare([*samples(), *further])
    assert (plain.side, traced.side) == ("gateway", "traced")
    assert traced.direct_per_s == plain.direct_per_s
    assert traced.ratio.median == pytest.approx(plain.ratio.median / 2)
    assert "| traced | REST | 256 bytes | 8 |" in markdown([plain, traced], FACTS)


def test_the_report_names_machine_and_spread_and_is_json_too() -> None:
    comparisons = compare(samples())
    text = markdown(comparisons, FACTS)
    assert "| REST | 256 bytes | 8 | 1,000 (400 to 1,200) | 480 (200 to 500) | 0.50 (0.40 to 0.50) |" in text
    assert "A CPU, 2 cores" in text
    document = json.loads(json.dumps(as_json(comparisons, samples(), judge({}), FACTS)))
    assert len(document["samples"]) == 6


def test_a_missing_h2load_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency) as caught:
        find_h2load(print)
    assert "apt-get install nghttp2-client" in caught.value.remedy
