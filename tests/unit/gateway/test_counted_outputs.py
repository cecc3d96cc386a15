"""Outputs that have no place in a report are left out by the gateway: the rest of the report is taken."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from services.controller.gateways.wire import report_from
from services.core.counts.report_bounds import MAX_NAME, MAX_OUTPUTS
from services.core.route import Role
from services.gateway.control.messages import report_from as message_of
from services.gateway.metrics.comparisons import comparisons
from services.gateway.metrics.mirror_series import MirrorSeries
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.metrics.tallies import tallies
from services.gateway.mirroring.result import OutputResult, PairResult

_LONG_NAME = "x" * (MAX_NAME + 1)


def test_outputs_beyond_the_bounds_of_a_report_are_left_out_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_slab_file(tmp_path / "slab", 1 << 20)
    recorder, reader = Recorder(SlabWriter(tmp_path / "slab")), SlabReader(tmp_path / "slab")
    with caplog.at_level(logging.WARNING):
        for role in ("stable", "pinned"):
            answers = recorder.answers("m", 1, role)
            for _ in range(2):
                for name in (_LONG_NAME, *(f"o{number}" for number in range(MAX_OUTPUTS + 1))):
                    answers.count_class(name, 0, 2)
                for name in (_LONG_NAME, "o0"):
                    answers.confidences.count(name, 0.5)
                    answers.means.count_rows(name, [1.0])
        for name in (_LONG_NAME, "o0"):
            pair = PairResult(False, False, True, True, (OutputResult(name, True, True, absolute=0.5),))
            MirrorSeries(recorder, "m", 1, 2).compared(pair, 0.01, 0.01)
        recorder.requests("rest", "n", 1, "stable").finish("ok", 0.01)
    message = message_of("w", 1, 1, tallies(reader.records()), comparisons(reader.records()))
    assert len(message.tallies) == 3
    assert not any(_LONG_NAME in str(each) for each in (*message.tallies, *message.comparisons))
    report = report_from(message)
    assert report.tallies["n", 1, Role.STABLE].requests == 1
    tally = report.tallies["m", 1, Role.STABLE]
    assert tally.predictions == {f"o{number}": (2, 0) for number in range(MAX_OUTPUTS)}
    assert set(tally.values) == {"confidence:o0", "mean:o0"}
    assert set(report.comparisons["m", 1, 2].outputs) == {"o0"}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "1,025 characters" in lines[0]
    assert f"output 'o{MAX_OUTPUTS}'" in lines[1]
