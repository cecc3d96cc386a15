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
    pytest.mark.measured,
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing: apt-get install nghttp2-client"),
]


def start_bench(temporary: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "loadtest.bench", "--concurrency", "2", *options]
    environment = {"PATH": str(Path(shutil.which("h2load") or "").parent), "TMPDIR": str(temporary)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_both_sides_of_both_protocols_are_measured_with_every_request_counted(tmp_path: Path) -> None:
    bench = start_bench(tmp_path, "--rounds", "2", "--seconds", "0.1", "--json", "-")
    out, err = bench.communicate(timeout=200)
    assert bench.returncode == 0, err
    report = json.loads(out)
    small = [row["case"] for row in report["comparisons"] if row["case"]["model"] == "bench_small"]
    large = [row["case"] for row in report["comparisons"] if row["case"]["model"] == "bench_image"]
    assert [(case["protocol"], case["concurrency"]) for case in small] == [("rest", 2), ("grpc", 2)]
    assert [(case["protocol"], case["concurrency"]) for case in large] == [
        ("rest", 1), ("rest", 8), ("grpc", 1), ("grpc", 8)
    ]  # fmt: skip
    for row in report["comparisons"]:
        assert row["direct_per_s"]["least"] > 0
        assert row["gateway_per_s"]["least"] > 0
        assert row["gateway_cpu_us"]["median"] > 0
    assert [sample["side"] for sample in report["samples"]] == ["direct", "gateway"] * 12, "they take turns"
    verdicts = {target["target"]: target["verdict"] for target in report["targets"]}
    assert verdicts["REST, 256 bytes, 32 connections: gateway CPU per request"] == "not measured"
    assert verdicts["gRPC, 3x224x224, 8 connections: requests/s, share of Triton direct"] in {"met", "missed"}
    assert list(tmp_path.glob("penstock-bench-*")) == []


def test_further_gateways_are_measured_in_the_same_run_and_strict_says_what_was_not(tmp_path: Path) -> None:
    options = ("--rounds", "1", "--seconds", "0.1", "--no-large", "--protocol", "rest", "--workers-scaling", "--strict")
    bench = start_bench(tmp_path, *options, "--variant", "narrow: gateway.limits.max_rank=4", "--json", "-")
    out, err = bench.communicate(timeout=200)
    assert bench.returncode == 1, err
    report = json.loads(out)
    assert [sample["side"] for sample in report["samples"]] == ["direct", "gateway", "narrow", "1 worker"]
    assert all(sample["gateway_cpu_us"] > 0 for sample in report["samples"][1:])


def test_the_memory_of_every_worker_is_watched_over_every_request(tmp_path: Path) -> None:
    bench = start_bench(tmp_path, "--memory", "6400", "--json", str(tmp_path / "memory.json"))
    out, err = bench.communicate(timeout=280)
    assert bench.returncode == 0, err
    memory = json.loads((tmp_path / "memory.json").read_text())["memory"]
    assert memory["requests"][-1] >= 6400
    assert len(memory["workers"]) == 2
    assert all(len(one["resident_bytes"]) == len(memory["requests"]) for one in memory["workers"])
    assert "worker 2: " in out
    assert memory["verdict"] in out


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
