"""The benchmark measures a real system and leaves nothing behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.load_process import ROOT

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is missing: apt-get install nghttp2-client"),
]


def test_both_sides_of_both_protocols_are_measured_with_every_request_counted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest.bench", "--rounds", "2", "--seconds", "0.1", "--concurrency", "2"]
    environment = {"PATH": str(Path(shutil.which("h2load") or "").parent), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [*command, "--json"], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
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
