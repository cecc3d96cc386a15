"""What was counted of copies is in the scrape, added up over workers, and in the worker's report."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from services.core.counts.comparison import Comparison, PairCounts
from services.gateway.metrics.comparisons import comparisons
from services.gateway.metrics.exposition import GatewayCollector
from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.mirror_series import MirrorSeries
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.metrics.window import Window
from services.gateway.mirroring.outcome import COMPARED, DROPPED, SKIPPED, Outcome
from services.gateway.mirroring.result import OutputResult, PairResult

_MASKED = OutputResult("y", True, True, False, 0.0, 0.0, 0.0, 0.0, both_non_finite=True)
_ODD = OutputResult("y", True, False, True, 3.0, 0.5, 0.1, 0.2, copy_non_finite=True)
SAME = PairResult(False, False, True, True, (_MASKED,))
OTHER = PairResult(True, False, True, False, (_ODD,))


def worker(folder: Path, name: str, same: int, other: int) -> SlabReader:
    """Return the slab of a worker that compared so many pairs."""
    create_slab_file(folder / name)
    series = MirrorSeries(Recorder(SlabWriter(folder / name)), "m", 1, 2)
    for result in [SAME] * same + [OTHER] * other:
        series.compared(result, 0.010, 0.020, "tier", "gold" if result is OTHER else "blue")
    for outcome in (Outcome.FAILED, Outcome.BUSY, Outcome.FULL, Outcome.SEQUENCE):
        series.ended(outcome)
    return SlabReader(folder / name)


def scrape(**slabs: SlabReader) -> list[Sample]:
    merged = MergedSlabs()
    for name, slab in slabs.items():
        merged.add(name, slab)
    registry = CollectorRegistry()
    registry.register(GatewayCollector(merged, Window(), lambda: 0.0))
    text = generate_latest(registry).decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def test_a_scrape_adds_up_the_workers_and_keeps_those_that_ended(tmp_path: Path) -> None:
    samples = scrape(a=worker(tmp_path, "a", 5, 1), b=worker(tmp_path, "b", 3, 2))
    about = {"model": "m", "version": "1", "mirrored": "2"}
    assert value(samples, "penstock_mirror_total", **about, outcome="same") == 8
    assert value(samples, "penstock_mirror_total", **about, outcome="different") == 3
    assert value(samples, "penstock_mirror_total", **about, outcome="full") == 2
    assert value(samples, "penstock_mirror_pairs_total", **about, slice="", result="differing") == 3
    assert value(samples, "penstock_mirror_pairs_total", **about, slice="tier=gold", result="pairs") == 3
    assert value(samples, "penstock_mirror_pairs_total", **about, slice="tier=blue", result="agree") == 8
    odd = {
        where: value(samples, "penstock_mirror_non_finite_pairs_total", **about, output="y", where=where)
        for where in ("original", "copy", "different", "both")
    }
    assert odd == {"original": 0, "copy": 3, "different": 0, "both": 8}
    assert value(samples, "penstock_mirror_duration_seconds_count", **about, side="copy") == 11
    assert value(samples, "penstock_mirror_duration_seconds_sum", **about, side="copy") == pytest.approx(0.22)
    at_most = {bound: value(samples, "penstock_mirror_difference_bucket", measure="absolute", le=bound)
               for bound in ("1.0", "16.0", "+Inf")}  # fmt: skip
    assert at_most == {"1.0": 8, "16.0": 11, "+Inf": 11}


def test_a_report_has_every_count(tmp_path: Path) -> None:
    found = comparisons(worker(tmp_path, "a", 5, 1).records())
    assert found.keys() == {("m", 1, 2)}
    comparison = found["m", 1, 2]
    assert comparison.all == PairCounts(pairs=6, differing=1, mismatched=0, ranked=6, agree=5)
    assert (comparison.failed, comparison.dropped, comparison.skipped) == (1, 2, 1)
    assert (comparison.original.total, comparison.copy.total) == (6, 6)
    assert comparison.slices == {"tier=blue": PairCounts(5, 0, 0, 5, 5), "tier=gold": PairCounts(1, 1, 0, 1, 0)}
    output = comparison.outputs["y"]
    assert (output.pairs, output.ranked, output.agree, output.non_finite) == (6, 6, 5, 1)
    assert (output.original_non_finite, output.copy_non_finite, output.both_non_finite) == (0, 1, 5)
    assert [h.total for h in (output.absolute, output.relative, output.cosine, output.divergence)] == [6] * 4


def test_a_full_slab_loses_counts_and_nothing_else(tmp_path: Path) -> None:
    create_slab_file(tmp_path / "small", 96 * 1024)
    recorder = Recorder(SlabWriter(tmp_path / "small"))
    for version in range(2, 40):
        MirrorSeries(recorder, "m", 1, version).compared(OTHER, 0.01, 0.02, "tier", "gold")
    found = comparisons(SlabReader(tmp_path / "small").records())
    assert 0 < len(found) < 38
    assert all(isinstance(comparison, Comparison) for comparison in found.values())


def test_every_outcome_is_of_one_kind() -> None:
    kinds = [COMPARED, DROPPED, SKIPPED, {Outcome.FAILED}]
    assert sorted(outcome for kind in kinds for outcome in kind) == sorted(Outcome)
