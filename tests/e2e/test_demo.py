"""The demo is the main job; it must end well, by itself, on a machine of its own or beside others."""

from pathlib import Path

import pytest

from tests.e2e.conftest import penstock

pytestmark = pytest.mark.e2e


def test_the_demo_keeps_all_its_promises(tmp_path: Path) -> None:
    told = penstock("demo", "--exit", "--free-ports", "--state-dir", str(tmp_path))
    assert told["as_promised"], told["broken"]
    assert told["canary"]["rollout"]["phase"] == "promoted"
    assert told["damaged"]["rollout"]["phase"] == "rolled_back"
    assert max(line["target_weight_percent"] for line in told["damaged"]["history"]) <= 25
    assert told["traffic"]["failed"] == 0
    assert told["slo"]["verdict"] == "met"
