"""A real Triton whose candidate leaks with every answer: what its supervisor reports, and what the rollout becomes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from loadtest.controller_kills.worker import Worker
from services.core.inference import InferRequest
from services.core.tensor import Tensor
from tests.fakes import aio
from tests.fakes.running_controller import RunningController, running_controller
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration
MIB = 1 << 20
CONFIG = """name: "drip"
backend: "python"
max_batch_size: 0
input [{ name: "X" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "X" data_type: TYPE_FP32 dims: [1] }]
instance_group [{ count: 1 kind: KIND_CPU }]
"""
MODEL = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.kept = []

    def execute(self, requests):
        self.kept += [bytearray(b"x") * KEPT for _ in requests]
        return [pb_utils.InferenceResponse(output_tensors=request.inputs()) for request in requests]
"""
MEMORY = {"leak_check": "require", "window_s": 5.0, "interval_s": 0.25}


def publish(repository: Path, version: int, kept_bytes: int) -> None:
    folder = repository / "drip" / str(version)
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(MODEL.replace("KEPT", str(kept_bytes)))
    (repository / "drip" / "config.pbtxt").write_text(CONFIG)


def body(version: int) -> dict[str, Any]:
    steps = [{"weight_percent": 50, "duration_s": 1.0, "min_requests": 20}]
    return {"model": "drip", "version": version, "steps": steps, "max_step_duration_s": 60.0, "memory": MEMORY}


async def answered(triton: RunningTriton, controller: RunningController, rollout: str) -> dict[str, Any]:
    """Ask both versions until a rollout is over, and return it."""
    request = InferRequest("drip", inputs=[Tensor("X", "FP32", (1,), bytes(4))])
    async with triton.upstream() as upstream, httpx2.AsyncClient(trust_env=False) as client:
        while True:
            found: dict[str, Any] = (await client.get(f"{controller.url}/v1/rollouts/{rollout}")).json()
            if not found["active"]:
                return found
            if found["phase"] == "progressing":
                await asyncio.gather(*(upstream.infer(request, version, 5.0) for version in (1, 2)))
            await asyncio.sleep(0.1)


def test_a_candidate_that_leaks_in_a_real_triton_is_rolled_back(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    publish(repository, 1, kept_bytes=1)
    with (
        running_triton(repository, tmp_path / "triton") as triton,
        running_controller(repository, triton.address, tmp_path / "controller") as controller,
        Worker([f"127.0.0.1:{controller.grpc_port}"], per_period=100),
    ):
        controller.until("/v1/models/drip", lambda model: model.get("stable") == 1)
        publish(repository, 2, kept_bytes=2 * MIB)
        publish(repository, 3, kept_bytes=1)
        with (repository / "drip" / "3" / "weights.bin").open("wb") as sparse:
            sparse.truncate(1 << 39)
        controller.until("/v1/models/drip", lambda model: model["published"] == [1, 2, 3])
        refused = controller.post("/v1/rollouts", body(3)).json()
        failed = controller.until(f"/v1/rollouts/{refused['id']}", lambda found: not found["active"])
        assert failed["phase"] == "failed", failed["reason"]
        assert "needs about 1024.0 GiB (1 x 1024.0 GiB)" in failed["reason"]
        assert "must stay free. Nothing was loaded" in failed["reason"]

        started = controller.post("/v1/rollouts", body(2)).json()
        over = aio.run(answered(triton, controller, started["id"]), timeout_s=60.0)
        assert over["phase"] == "rolled_back", over["reason"]
        assert "memory: on 127.0.0.1:" in over["reason"]
        history = controller.get(f"/v1/rollouts/{started['id']}/history")["history"]
    loaded = next(line for line in history if line["target"] == "warming")
    assert "left, about " in loaded["reason"], "what stable takes is known, and so is what is left"
    check = next(one for one in history[-2]["verdict"]["checks"] if one["name"] == "memory")
    assert check["outcome"] == "fail"
    assert check["numbers"]["candidate_bytes_per_h"] > 100 * MIB
    assert abs(check["numbers"]["stable_bytes_per_h"]) < 0.1 * check["numbers"]["candidate_bytes_per_h"]
