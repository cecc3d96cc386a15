"""``penstock rollout selftest``: known faults behind a candidate, in front of a real Triton."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loadtest.selftest.experiment import run
from loadtest.selftest.faulty_model import Fault
from loadtest.selftest.scenarios import PROMOTED, ROLLED_BACK, SCENARIOS, Scenario

pytestmark = [pytest.mark.integration, pytest.mark.measured]


def test_every_known_fault_is_rolled_back_by_its_check_and_an_equal_version_is_promoted() -> None:
    command = [sys.executable, "-m", "services.cli.main", "rollout", "selftest", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    ended = json.loads(done.stdout)
    assert done.returncode == 0, ended
    assert [one["scenario"] for one in ended] == [one.name for one in SCENARIOS]
    assert all(one["right"] for one in ended)
    assert all(one["exposed"] > 0 for one in ended)


def test_a_gate_that_is_wrong_is_said_to_be(tmp_path: Path) -> None:
    """A self-test that cannot fail proves nothing: here what is asked of it is wrong."""
    wrong = [
        Scenario("a NaN that should pass", Fault(not_finite=0.5), PROMOTED),
        Scenario("a NaN that latency should find", Fault(not_finite=0.5), ROLLED_BACK, "p99"),
    ]
    ended = run(wrong, tmp_path, lambda _: None)
    assert [one.right for one in ended] == [False, False]


def test_a_selftest_that_is_ended_early_ends_what_it_started(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "services.cli.main", "rollout", "selftest"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    selftest = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert selftest.stdout is not None
    for line in selftest.stdout:
        if line.startswith("version 2:"):
            break
    started = psutil.Process(selftest.pid).children(recursive=True)
    commands = [" ".join(one.cmdline()) for one in started]
    for part in ("tritonserver", "main controller", "main gateway", "loadtest.traffic"):
        assert any(part in words for words in commands), commands
    selftest.send_signal(signal.SIGTERM)
    _, err = selftest.communicate(timeout=120)
    assert selftest.returncode == 130, err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert list(tmp_path.glob("penstock-selftest-*")) == []
