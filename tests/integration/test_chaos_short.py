"""The chaos run, in short: real Tritons are killed, stopped and restarted under load, and no client loses a request."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.load_process import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.measured]


def start_chaos(temporary: Path, *options: str) -> subprocess.Popen[str]:
    # Slow and patient enough for a machine that does other things too, and no more: a request that stays at a stopped
    # Triton waits for 5 s.
    common = ["--rate", "100", "--deadline", "4", "--settle", "15"]
    command = [sys.executable, "-m", "loadtest.chaos", *common, *options]
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(temporary)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def chaos(temporary: Path, *options: str) -> list[dict[str, Any]]:
    running = start_chaos(temporary, "--json", *options)
    try:
        out, err = running.communicate(timeout=150)
    finally:
        if running.poll() is None:
            running.terminate()
            running.wait(60)
    assert out, err
    results: list[dict[str, Any]] = json.loads(out)
    assert (running.returncode == 0) == all(result["kept"] for result in results)
    return results


@pytest.mark.timeout(180)
def test_killed_tritons_and_ended_workers_cost_no_request(tmp_path: Path) -> None:
    kill, sick, roll = chaos(
        tmp_path, "--only", "kill", "--kills", "3", "--requests", "300", "--only", "sick", "--only", "roll-workers"
    )
    assert kill["failures"] == {}
    assert kill["requests"] >= 300
    assert kill["facts"]["back_without_traffic"] == 0, "a kill of a Triton that nobody asks shows nothing"
    assert sick["facts"]["failed_after_2_s"] == 0
    assert sick["requests"] > 500
    assert roll["failures"] == {}
    assert roll["facts"]["workers"] == 2


@pytest.mark.timeout(180)
def test_stopped_and_restarted_tritons_cost_no_request(tmp_path: Path) -> None:
    stop, roll = chaos(tmp_path, "--only", "stop", "--stops", "1", "--only", "roll-tritons")
    assert stop["facts"]["without_traffic"] == 0
    assert stop["facts"]["ejected_after_s"]["max"] < 5, "it was never ejected"
    assert stop["failures"] == {}
    assert roll["failures"] == {}


@pytest.mark.timeout(120)
def test_a_run_that_is_ended_early_ends_what_it_started(tmp_path: Path) -> None:
    running = start_chaos(tmp_path, "--only", "kill", "--kills", "1000")
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("kill 1/"):
            break
    started = psutil.Process(running.pid).children(recursive=True)
    assert any("tritonserver" in one.name() for one in started)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=100)
    assert (running.returncode, out) == (2, "")
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
