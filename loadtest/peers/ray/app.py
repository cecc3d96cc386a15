# mypy: ignore-errors
# Runs in an environment of its own, whose packages are not here to be checked.
"""Ray Serve with ``serve.batch``, in Ray's environment: ``app.py MODEL PORT PROCESSES FOLDER``."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import numpy as np
import onnxruntime
import ray
from loopback import stay_on_loopback
from ray import serve
from starlette.requests import Request

MAX_BATCH_SIZE = int(os.environ["PEER_BATCH_SIZE"])
BATCH_WAIT_S = float(os.environ["PEER_BATCH_S"])
MAX_ONGOING = 256


@serve.deployment(max_ongoing_requests=MAX_ONGOING, ray_actor_options={"num_cpus": 0})
class Doubler:
    """Runs the model on whole batches."""

    def __init__(self, model: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @serve.batch(max_batch_size=MAX_BATCH_SIZE, batch_wait_timeout_s=BATCH_WAIT_S)
    async def run(self, rows: list[Any]) -> list[Any]:
        """Return the outputs of a batch."""
        return list(self._session.run(None, {"x": np.stack(rows)})[0])

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        document = await request.json()
        y = await self.run(np.asarray(document["x"], np.float32))
        return {"y": y.tolist()}


def main(model: str, port: int, processes: int, folder: str) -> None:
    """Serve until SIGTERM."""
    ray.init(
        num_cpus=processes,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"worker_process_setup_hook": stay_on_loopback},
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port, "access_log": False})
    serve.run(Doubler.options(num_replicas=processes).bind(model), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
