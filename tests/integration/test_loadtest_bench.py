"""The benchmark measures a real system and leaves nothing behind."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.fakes.load_process import ROOT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing: apt-get install nghttp2-client"),
]


def start_bench(temporary: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtest.bench", "--concurrency", "2", *options]
    environment = {"PATH": str(Path(shutil.which("h2load") or "").parent), "TMPDIR": str(temporary)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_both_sides_of_both_protocols_are_measured_with_every_request_counted(tmp_path: Path) -> None:
    bench = start_bench(tmp_path, "--rounds", "2", "--seconds", "0.1", "--json")
    out, err = bench.communicate(timeout=200)
    assert bench.returncode == 0, err
    report = json.loads(out)
    assert [row["case"] for row in report["comparisons"]] == [
        {"protocol": "rest", "concurrency": 2},
        {"protocol": "grpc", "concurrency": 2},
    ]
    for row in report["comparisons"]:
        assert row["direct_per_s"]["least"] > 0
        assert row["gateway_per_s"]["least"] > 0
        assert row["gateway_cpu_us"]["median"] > 0
    assert [sample["side"] for sample in report["samples"]] == ["direct", "gateway"] * 4, "they take turns"
    assert list(tmp_path.glob("penstock-bench-*")) == []


def test_a_benchmark_that_is_ended_early_ends_what_it_started(tmp_path: Path) -> None:
    bench = start_bench(tmp_path, "--rounds", "1000")
    assert bench.stderr is not None
    for line in bench.stderr:
        if line.startswith("round 1/"):
            break
    started = psutil.Process(bench.pid).children(recursive=True)
    assert any("tritonserver" in one.name() for one in started)
    bench.send_signal(signal.SIGTERM)
    out, err = bench.communicate(timeout=120)
    assert (bench.returncode, out) == (2, "")
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert list(tmp_path.glob("penstock-bench-*")) == []
