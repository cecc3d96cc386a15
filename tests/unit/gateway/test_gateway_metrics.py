"""One scrape shows all workers, with percentiles that are right and counters that never go down."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from services.gateway.metrics.exposition import GatewayCollector
from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.recorder import MAX_CLASSES, MAX_PLAIN_SERIES, Recorder
from services.gateway.metrics.replica_metrics import ReplicaMetrics
from services.gateway.metrics.series import (
    ATTEMPTS,
    EJECTIONS,
    HEALTHY,
    LABELS,
    LIMIT,
    LOOP_LAG,
    OVERFLOW,
    QUEUED,
    REPLICA_IN_FLIGHT,
    STAGES,
)
from services.gateway.metrics.slab import SlabReader, SlabWriter, WorkerState, create_slab_file
from services.gateway.metrics.tallies import tallies
from services.gateway.metrics.time_split import GatewayTimes, TimeSplit
from services.gateway.metrics.triton_times import TritonTimes
from services.gateway.metrics.vitals import Vitals
from services.gateway.metrics.vocabulary import COUNTERS, GAUGE_FAMILIES
from services.gateway.metrics.window import Window
from tests.fakes import aio

QUANTILES = (0.5, 0.95, 0.99)


def distribution(name: str) -> npt.NDArray[np.float64]:
    """Return 40,000 durations in seconds."""
    chance = np.random.default_rng(7)
    match name:
        case "log-normal":
            return chance.lognormal(np.log(0.008), 0.7, 40_000)
        case "exponential":
            return 0.0005 + chance.exponential(0.02, 40_000)
        case "gamma":
            return chance.gamma(9.0, 0.0004, 40_000)
        case "uniform":
            return chance.uniform(0.010, 0.090, 40_000)
    raise ValueError(name)


def scrape(slabs: MergedSlabs, window: Window | None = None, now_s: float = 0.0) -> list[Sample]:
    """Return every sample of one scrape, through the text format."""
    registry = CollectorRegistry()
    registry.register(GatewayCollector(slabs, window or Window(), lambda: now_s))
    text = generate_latest(registry).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """Return the sum of the samples of a name with these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def histogram_quantile(samples: list[Sample], q: float, **labels: str) -> float:
    """Return what Prometheus' function of this name does: linear between the boundaries of a bucket."""
    totals: dict[float, float] = {}
    for sample in samples:
        if sample.name == "penstock_request_duration_seconds_bucket" and labels.items() <= sample.labels.items():
            bound = float(sample.labels["le"])
            totals[bound] = totals.get(bound, 0) + sample.value
    bounds = sorted(totals)
    rank = q * totals[bounds[-1]]
    index = next(i for i, bound in enumerate(bounds) if totals[bound] >= rank)
    low, below = (bounds[index - 1], totals[bounds[index - 1]]) if index else (0.0, 0.0)
    return low + (bounds[index] - low) * (rank - below) / (totals[bounds[index]] - below)


def slab(folder: Path, name: str, size: int = 1 << 20) -> Path:
    """Return the path of an empty slab."""
    path = folder / name
    create_slab_file(path, size)
    return path


@pytest.mark.parametrize("name", ["log-normal", "exponential", "gamma", "uniform"])
def test_percentiles_of_two_worker_processes_are_within_two_percent_in_one_scrape(tmp_path: Path, name: str) -> None:
    durations = distribution(name)
    slabs = MergedSlabs()
    workers = []
    # Unequal and unlike halves: averaging the workers' percentiles would be far off.
    for number, part in enumerate((np.sort(durations)[:10_000], np.sort(durations)[10_000:])):
        path = slab(tmp_path, f"{number}")
        slabs.add(f"worker {number}", SlabReader(path))
        np.save(tmp_path / f"{number}.npy", part)
        command = [sys.executable, "-m", "tests.fakes.slab_writer", str(path), str(tmp_path / f"{number}.npy")]
        workers.append(subprocess.Popen(command, cwd=Path(__file__).parents[3]))
    assert [worker.wait(60) for worker in workers] == [0, 0]
    samples = scrape(slabs)
    labels = {"model": "digits", "version": "1", "protocol": "rest", "role": "stable"}
    assert value(samples, "penstock_request_duration_seconds_count", **labels) == len(durations)
    assert value(samples, "penstock_request_duration_seconds_sum", **labels) == pytest.approx(durations.sum(), rel=1e-6)
    for q in QUANTILES:
        truth = float(np.quantile(durations, q))
        gauge = value(samples, "penstock_request_duration_quantile_seconds", quantile=f"{q:g}", **labels)
        assert gauge == pytest.approx(truth, rel=0.02)
        assert histogram_quantile(samples, q, **labels) == pytest.approx(truth, rel=0.02)


def test_every_shown_bucket_holds_exactly_what_is_at_or_below_its_boundary(tmp_path: Path) -> None:
    durations = distribution("log-normal")[:5000]
    path = slab(tmp_path, "slab")
    series = Recorder(SlabWriter(path)).requests("grpc", "digits", 1, "stable")
    for seconds in durations.tolist():
        series.finish("ok", seconds)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    buckets = [s for s in scrape(slabs) if s.name == "penstock_request_duration_seconds_bucket"]
    bounds = [float(bucket.labels["le"]) for bucket in buckets]
    assert bounds == sorted(bounds)
    assert {round(b / a, 9) for a, b in itertools.pairwise(bounds[:-1])} == {
        round(2 ** (1 / 16), 9),
        round(2 ** (1 / 4), 9),
    }
    for bucket in buckets:
        assert bucket.value == (durations <= float(bucket.labels["le"])).sum()


def test_the_counts_of_a_worker_that_died_are_kept(tmp_path: Path) -> None:
    slabs = MergedSlabs()
    totals = []
    for life in range(3):
        path = slab(tmp_path, f"{life}")
        writer = SlabWriter(path)
        writer.set_state(WorkerState.LISTENING)
        writer.set_in_flight(5)
        slabs.add(f"life {life}", SlabReader(path))
        series = Recorder(writer).requests("rest", "digits", 1, "stable")
        for _ in range(10):
            series.finish("ok", 0.01)
        totals.append(value(scrape(slabs), "penstock_requests_total", outcome="ok"))
        assert value(scrape(slabs), "penstock_in_flight") == 5
        slabs.retire(f"life {life}")
        totals.append(value(scrape(slabs), "penstock_requests_total", outcome="ok"))
    assert totals == [10, 10, 20, 20, 30, 30]
    assert value(scrape(slabs), "penstock_in_flight") == 0
    assert value(scrape(slabs), "penstock_workers") == 0


def test_what_is_kept_of_dead_workers_is_bounded_and_no_sum_goes_down(tmp_path: Path) -> None:
    most = 10_000
    slabs = MergedSlabs(most_retired_cells=most)
    for version in range(1, 31):
        path = slab(tmp_path, f"{version}")
        recorder = Recorder(SlabWriter(path))
        slabs.add(f"life {version}", SlabReader(path))
        for answered in (0, version):
            recorder.requests("rest", "digits", answered, "stable").finish("ok", 0.01)
            recorder.answers("digits", answered, "stable").count_class("scores", 1, 10)
        slabs.retire(f"life {version}")
        samples = scrape(slabs)
        assert value(samples, "penstock_requests_total") == 2 * version
        assert value(samples, "penstock_predictions_total") == 2 * version
        assert sum(len(values) for key, values in slabs.merged().items() if OVERFLOW not in key) <= most
    for recent, count in (("0", 30), ("30", 1)):
        assert value(samples, "penstock_requests_total", model="digits", version=recent) == count
    assert not value(samples, "penstock_requests_total", model="digits", version="1")
    assert value(samples, "penstock_requests_total", model=OVERFLOW) > 0


def test_the_quantile_gauges_forget_what_is_older_than_a_minute(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    series = Recorder(SlabWriter(path)).requests("rest", "digits", 1, "stable")
    slabs, window = MergedSlabs(), Window()
    slabs.add("only", SlabReader(path))
    for second in range(0, 200, 5):
        window.remember(second, slabs.merged())
        series.finish("ok", 1.0 if second < 100 else 0.001)
    name, median = "penstock_request_duration_quantile_seconds", {"quantile": "0.5"}
    assert value(scrape(slabs, window, 195.0), name, **median) == pytest.approx(0.001, rel=0.02)
    window.remember(195.0, slabs.merged())
    window.remember(300.0, slabs.merged())
    assert not [s for s in scrape(slabs, window, 300.0) if s.name == name]


def test_the_stages_of_a_request_add_up_to_its_duration(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    marks = [10.0, 10.001, 10.0021, 10.05, 10.051]
    series = Recorder(SlabWriter(path)).requests("rest", "digits", 1, "stable")
    series.finish("ok", marks[-1] - marks[0])
    series.answered(marks, 0.04)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    samples = scrape(slabs)
    assert {s.labels["stage"] for s in samples if s.name == "penstock_stage_duration_seconds_sum"} == set(STAGES)
    stages = value(samples, "penstock_stage_duration_seconds_sum")
    assert stages == pytest.approx(value(samples, "penstock_request_duration_seconds_sum"), abs=1e-6)
    assert stages == pytest.approx(0.051, abs=1e-6)


def test_a_failed_request_counts_no_stages(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    Recorder(SlabWriter(path)).requests("rest", "digits", None, "").finish("invalid_argument", 1.0)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    samples = scrape(slabs)
    assert not [s for s in samples if s.name.startswith("penstock_stage_duration_seconds")]
    assert value(samples, "penstock_requests_total", outcome="invalid_argument", version="", role="") == 1


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 5e-7, 1.1e-6, 0.000128, 0.0031, 1.0, 63.9, 700.0, 1e6])
def test_a_stage_is_counted_at_and_above_its_boundary_only(tmp_path: Path, seconds: float) -> None:
    path = slab(tmp_path, "slab")
    series = Recorder(SlabWriter(path)).requests("rest", "digits", 1, "stable")
    series.answered([0.0, 0.0, 0.0, seconds, seconds], 0.0)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    name = "penstock_stage_duration_seconds_bucket"
    buckets = [s for s in scrape(slabs) if s.name == name and s.labels["stage"] == "forward"]
    assert buckets[-1].labels["le"] == "+Inf"
    assert buckets[-1].value == 1
    for bucket in buckets[:-1]:
        assert bucket.value == (seconds < float(bucket.labels["le"]))


def test_a_full_slab_counts_what_has_no_room_in_one_overflow_series(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab", 256 * 1024)
    recorder = Recorder(SlabWriter(path))
    for number in range(100):
        recorder.requests("rest", f"model-{number}", 1, "stable").finish("ok", 0.01)
        recorder.answers(f"model-{number}", 1, "stable").count_class("scores", 1, 10)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    samples = scrape(slabs)
    overflown = value(samples, "penstock_requests_total", model=OVERFLOW)
    assert 0 < overflown < 100
    assert value(samples, "penstock_requests_total") == 100
    assert value(samples, "penstock_predictions_total") == 100


def test_an_empty_gateway_shows_its_gauges_and_nothing_else(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    slabs = MergedSlabs()
    slabs.add("unopened", SlabReader(path))
    Recorder(SlabWriter(slab(tmp_path, "other")))
    slabs.add("idle", SlabReader(tmp_path / "other"))
    assert {s.name for s in scrape(slabs)} == {
        "penstock_in_flight",
        "penstock_workers",
        "penstock_route_generation",
        "penstock_counter_room_used_ratio",
        "penstock_models_without_counter_room",
    }


def test_a_scrape_tells_how_much_room_for_counters_the_fullest_worker_has_left(tmp_path: Path) -> None:
    slabs, writers = MergedSlabs(), []
    for name in ("a", "b"):
        path = slab(tmp_path, name)
        writers.append(SlabWriter(path))
        slabs.add(name, SlabReader(path))
    Recorder(writers[0])
    writers[1].allocate(("x",), len(writers[1].cells) // 2)
    seen = scrape(slabs)
    assert value(seen, "penstock_counter_room_used_ratio") == pytest.approx(0.5, abs=0.01)
    assert value(seen, "penstock_models_without_counter_room") == 0
    writers[1].allocate(("y",), len(writers[1].cells) // 2 - 20)
    Recorder(writers[0]).requests("rest", "digits", 1, "stable").finish("ok", 0.01)
    writers[1].set_without_room(3)
    seen = scrape(slabs)
    assert value(seen, "penstock_counter_room_used_ratio") == pytest.approx(1.0, abs=0.01)
    assert value(seen, "penstock_models_without_counter_room") == 3


def test_classes_beyond_the_bound_are_not_counted(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    answers = Recorder(SlabWriter(path)).answers("digits", 1, "stable")
    answers.count_class("vocabulary", 5, MAX_CLASSES + 1)
    answers.count_class("scores", 2, 3)
    answers.count_class("scores", 3, 3)
    found = tallies(SlabReader(path).records())
    assert found["digits", 1, "stable"].predictions == {"scores": (0, 0, 1)}


def test_tallies_are_evidence_about_versions_and_nothing_else(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    recorder = Recorder(SlabWriter(path))
    for protocol in ("rest", "grpc"):
        series = recorder.requests(protocol, "digits", 2, "candidate")
        for outcome in ("ok", "ok", "upstream_failure", "deadline_exceeded", "unavailable", "internal"):
            series.finish(outcome, 0.01)
        for outcome in ("invalid_argument", "overloaded", "withdrawn", "expired", "not_found"):
            series.finish(outcome, 0.01)
        series.finish("cancelled", 5.0)
        recorder.requests(protocol, "digits", None, "").finish("not_found", 0.01)
        recorder.requests(protocol, "", None, "").finish("not_found", 0.01)
    recorder.answers("digits", 2, "candidate").count_non_finite()
    found = tallies(SlabReader(path).records())
    assert list(found) == [("digits", 2, "candidate")]
    tally = found["digits", 2, "candidate"]
    assert (tally.requests, tally.failed, tally.non_finite, tally.unanswered) == (14, 8, 1, 2)
    assert (tally.answers, tally.latency.total) == (4, 6)
    assert tally.latency.quantile(0.99) == pytest.approx(5.0, rel=0.02), "how long clients waited at least"


def test_only_a_family_of_the_type_summary_has_quantile_labels(tmp_path: Path) -> None:
    """As ``promtool check metrics`` wants it."""
    path = slab(tmp_path, "slab")
    Recorder(SlabWriter(path)).requests("rest", "digits", 1, "stable").finish("ok", 0.1)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    registry = CollectorRegistry()
    registry.register(GatewayCollector(slabs, Window(), lambda: 0.0))
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    with_quantiles = [f for f in families if any("quantile" in sample.labels for sample in f.samples)]
    assert [(f.name, f.type) for f in with_quantiles] == [("penstock_request_duration_quantile_seconds", "summary")]


def test_gauges_add_up_over_the_workers_that_live_and_go_with_a_worker_that_dies(tmp_path: Path) -> None:
    slabs, recorders = MergedSlabs(), {}
    for name in ("a", "b"):
        path = slab(tmp_path, name)
        recorders[name] = Recorder(SlabWriter(path))
        slabs.add(name, SlabReader(path))
        recorders[name].put(LIMIT, ("digits", "1"), 20)
        recorders[name].put(QUEUED, ("digits", "1"), 0)
        recorders[name].put(HEALTHY, ("10.0.0.1:8000",), 1)
        recorders[name].add(EJECTIONS, "10.0.0.1:8000", "", "", "failures")
    recorders["b"].put(HEALTHY, ("10.0.0.1:8000",), 0)
    recorders["b"].put(HEALTHY, ("10.0.0.2:8000",), 1)
    seen = scrape(slabs)
    assert value(seen, "penstock_admission_limit", model="digits", version="1") == 40
    assert [s.value for s in seen if s.name == "penstock_admission_queued"] == [0]  # a zero is shown, not left out
    assert value(seen, "penstock_replica_healthy_workers", replica="10.0.0.1:8000") == 1
    recorders["b"].put(HEALTHY, ("10.0.0.2:8000",), None)
    assert {s.labels["replica"] for s in scrape(slabs) if s.name == "penstock_replica_healthy_workers"} == {
        "10.0.0.1:8000"
    }
    slabs.retire("b")
    seen = scrape(slabs)
    assert value(seen, "penstock_admission_limit") == 20
    assert value(seen, "penstock_replica_healthy_workers") == 1
    assert value(seen, "penstock_ejections_total", replica="10.0.0.1:8000", reason="failures") == 2


def test_requests_in_flight_are_counted_by_all_that_is_known_of_them(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    series = Recorder(SlabWriter(path)).requests("grpc", "digits", 2, "candidate")
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    labels = {"model": "digits", "version": "2", "protocol": "grpc", "role": "candidate"}
    seen = []
    for step in (series.begin, series.begin, series.end, series.end):
        step()
        seen.append(value(scrape(slabs), "penstock_requests_in_flight", **labels))
    assert seen == [1, 2, 1, 0]


def test_what_replicas_do_is_counted_by_replica(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    events = ReplicaMetrics(Recorder(SlabWriter(path)))
    for _ in range(3):
        events.attempt("a:1", "m", 1, "ok")
    events.attempt("a:1", "m", 1, "broken")
    events.again("b:1", "m", 1, "retry")
    events.again("b:1", "m", 1, "hedge")
    events.ejected("a:1", None, None, "failures")
    events.ejected("a:1", "digits", 2, "hangs")
    events.readmitted("a:1", "digits", 2)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    seen = scrape(slabs)
    assert value(seen, "penstock_attempts_total", replica="a:1", outcome="ok") == 3
    assert value(seen, "penstock_attempts_total", replica="a:1") == 4
    assert value(seen, "penstock_second_attempts_total", replica="b:1", kind="hedge") == 1
    assert value(seen, "penstock_ejections_total", replica="a:1", model="", version="", reason="failures") == 1
    assert value(seen, "penstock_ejections_total", replica="a:1", model="digits", version="2", reason="hangs") == 1
    assert value(seen, "penstock_readmissions_total", replica="a:1", model="digits", version="2") == 1


def test_replicas_that_come_and_go_under_new_names_fill_no_memory(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab", 4 << 20)
    recorder = Recorder(SlabWriter(path))
    for number in range(2 * MAX_PLAIN_SERIES):
        recorder.add(ATTEMPTS, f"10.0.0.1:{number}", "m", "1", "ok")
        recorder.put(HEALTHY, (f"10.0.0.1:{number}",), 1)
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    seen = scrape(slabs)
    assert value(seen, "penstock_attempts_total") == 2 * MAX_PLAIN_SERIES
    assert value(seen, "penstock_attempts_total", replica=OVERFLOW) > MAX_PLAIN_SERIES
    healthy = [s for s in seen if s.name == "penstock_replica_healthy_workers"]
    assert len(healthy) < MAX_PLAIN_SERIES
    assert {s.value for s in healthy} == {1}


def test_the_vitals_publish_what_there_is_and_take_back_what_is_gone(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    present = {("a:1",): 3, ("b:1",): 4}
    vitals = Vitals(
        Recorder(SlabWriter(path)), [lambda: [(REPLICA_IN_FLIGHT, labels, n) for labels, n in present.items()]]
    )
    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    name = "penstock_replica_in_flight"
    vitals.publish()
    assert {s.labels["replica"]: s.value for s in scrape(slabs) if s.name == name} == {"a:1": 3, "b:1": 4}
    del present["a:1",]
    present["b:1",] = 0
    vitals.publish()
    assert {s.labels["replica"]: s.value for s in scrape(slabs) if s.name == name} == {"b:1": 0}
    present["a:1",] = 9
    vitals.publish()
    assert {s.labels["replica"]: s.value for s in scrape(slabs) if s.name == name} == {"a:1": 9, "b:1": 0}


def test_an_event_loop_that_is_held_up_shows_in_its_lag(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    now = itertools.count(step=0.35)  # between two looks 0.35 s go by, where 0.1 s were asked for
    vitals = Vitals(Recorder(SlabWriter(path)), [], look_s=0.1, looks=1, clock=lambda: next(now))

    async def run() -> None:
        task = asyncio.create_task(vitals.run())
        await aio.until(lambda: value(scrape(slabs), "penstock_event_loop_lag_seconds_count") >= 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    slabs = MergedSlabs()
    slabs.add("only", SlabReader(path))
    aio.run(run())
    seen = scrape(slabs)
    count = value(seen, "penstock_event_loop_lag_seconds_count")
    assert value(seen, "penstock_event_loop_lag_seconds_sum") == pytest.approx(0.25 * count)


def test_two_scrapes_never_show_a_counter_that_went_down(tmp_path: Path) -> None:
    """While a worker counts, dies and is followed by another."""
    slabs, before = MergedSlabs(), dict[tuple[str, ...], float]()
    for life in range(3):
        path = slab(tmp_path, f"{life}")
        recorder = Recorder(SlabWriter(path))
        slabs.add(f"life {life}", SlabReader(path))
        for number in range(20):
            series = recorder.requests("rest", "digits", 1, "stable")
            series.begin()
            series.answered([0.0, 0.001, 0.002, 0.003 + 0.001 * number, 0.1], 0.0)
            series.finish("ok", 0.1)
            series.end()
            recorder.add(ATTEMPTS, "a:1", "m", "1", "ok")
            if number == 10:
                slabs.retire(f"life {life - 1}")
            seen = {
                (s.name, *sorted(map(str, s.labels.items()))): s.value
                for s in scrape(slabs)
                if s.name.endswith(("_total", "_bucket", "_count", "_sum"))
            }
            assert all(seen[key] >= was for key, was in before.items())
            before = seen


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
def test_promtool_finds_nothing_to_say_about_a_scrape(tmp_path: Path) -> None:
    path = slab(tmp_path, "slab")
    recorder = Recorder(SlabWriter(path))
    series = recorder.requests("rest", 'odd "name"\n', 1, "stable")
    series.begin()
    series.answered([0.0, 0.1, 0.2, 0.3, 0.4], 0.1)
    series.finish("ok", 0.4)
    recorder.answers("digits", 1, "stable").count_class("scores", 1, 3)
    recorder.answers("digits", 1, "stable").count_non_finite()
    recorder.add_time(LOOP_LAG, 0.002)
    for family in COUNTERS:
        recorder.add(family, *("x" for _ in LABELS[family]))
    for family in GAUGE_FAMILIES:
        recorder.put(family, tuple("x" for _ in LABELS[family]), 1)
    slabs, split = MergedSlabs(), TimeSplit()
    slabs.add("only", SlabReader(path))
    split.settle({("digits", "1"): GatewayTimes(*range(1, 8))}, {("digits", "1"): TritonTimes(1, 3, 1, 1)})
    registry = CollectorRegistry()
    registry.register(GatewayCollector(slabs, Window(), lambda: 0.0, split))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
