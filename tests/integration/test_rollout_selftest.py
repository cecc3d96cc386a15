"""``penstock rollout selftest``: known faults behind a candidate, in front of a real Triton."""

import json
import subprocess
import sys
from pathlib import Path

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
