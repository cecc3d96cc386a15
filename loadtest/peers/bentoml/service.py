# mypy: ignore-errors
# Runs in an environment of its own, whose packages are not here to be checked.
"""BentoML with adaptive batching, in BentoML's environment: ``bentoml serve service:Doubler``."""

from __future__ import annotations

import os

import bentoml
import numpy as np
import onnxruntime

MAX_BATCH_SIZE = int(os.environ["PEER_BATCH_SIZE"])
MAX_LATENCY_MS = 10_000  # beyond it BentoML answers 503, which voids the run


@bentoml.service(
    workers=int(os.environ["PEER_PROCESSES"]),
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},
)
class Doubler:
    """Runs the model on whole batches."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=MAX_LATENCY_MS)
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs of a batch."""
        return self._session.run(None, {"x": x.astype(np.float32, copy=False)})[0]
