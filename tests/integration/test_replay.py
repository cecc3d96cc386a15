"""``penstock replay`` where there is no traffic at all: recorded inputs decide a shadow, for better and for worse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from loadtest.bench.system import System, get
from loadtest.selftest.experiment import model_view, post, wait_until
from loadtest.selftest.faulty_model import MODEL, NONE, Fault, Pace, publish

pytestmark = pytest.mark.integration
ROWS = 3000
PACE = Pace(median_s=0.002)
SHADOW = {
    "strategy": "shadow",
    "steps": [{"weight_percent": 0, "duration_s": 1, "mirror_percent": 100}],
    "analysis": {"max_disagreement": 0.02, "p99_floor_s": 1.0},  # other processes share these cores
    "copies": {"floor_percent": 0},
    "actor": "test",
}


def penstock(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli.main", *words, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def started(system: System, repository: Path, version: int, fault: Fault) -> str:
    publish(repository, version, fault, PACE)
    wait_until(lambda: version in model_view(system)["published"], f"version {version} is not seen", 30.0)
    return str(post(system.controller.rest, "/v1/rollouts", {"model": MODEL, "version": version, **SHADOW})["id"])


def replayed(system: System, data: Path, rollout: str) -> dict[str, Any]:
    where = ("--gateway", f"http://{system.gateway.rest}", "--controller", f"http://{system.controller.rest}")
    ran = penstock("replay", MODEL, "--data", str(data), "--rate", "300", "--rollout", rollout, *where)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_recorded_inputs_decide_a_shadow_without_any_traffic(tmp_path: Path) -> None:
    repository, data = tmp_path / "repository", tmp_path / "recorded.npz"
    publish(repository, 1, pace=PACE)
    np.savez(data, x=np.random.default_rng(5).standard_normal((ROWS, 4)).astype(np.float32))
    with System(repository, tmp_path, workers=1) as system:
        same = started(system, repository, 2, NONE)
        plan = penstock("rollout", "plan", MODEL, "--version", "2", "--controller", f"http://{system.controller.rest}")
        assert "penstock replay selftest --data FILE" in json.loads(plan.stdout)["proposals"][0]["text"]
        found = replayed(system, data, same)
        path = f"/v1/rollouts/{same}"
        wait_until(lambda: not orjson.loads(get(system.controller.rest, path))["active"], "it is not over", 30.0)
        assert orjson.loads(get(system.controller.rest, path))["phase"] == "concluded"
        assert found["failed"] == {}
        assert found["answered"] > 200

        worse = replayed(system, data, started(system, repository, 3, Fault(wrong=0.2)))
        assert worse["ended_early"]
        assert worse["answered"] < ROWS, "nothing is sent once it is decided"
        wait_until(lambda: model_view(system)["rollout"] is None, "it is not over", 30.0)
        assert worse["rollout"]["phase"] in {"rolling_back", "rolled_back"}
        assert "agreement" in worse["rollout"]["reason"]

        where = ("--gateway", f"http://{system.gateway.rest}", "--controller", f"http://{system.controller.rest}")
        over = penstock("replay", MODEL, "--data", str(data), "--rollout", same, *where)
        assert (over.returncode, "is over (concluded)" in over.stderr) == (1, True)
        unknown = penstock("replay", "nobody", "--data", str(data), *where)
        assert (unknown.returncode, "does not serve 'nobody'" in unknown.stderr) == (1, True)
