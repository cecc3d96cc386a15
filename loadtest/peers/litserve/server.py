# mypy: ignore-errors
# Runs in an environment of its own, whose packages are not here to be checked.
"""LitServe with its own batching, in LitServe's environment: ``server.py MODEL PORT PROCESSES``."""

import os
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime
from fastapi import Request

MAX_BATCH_SIZE = int(os.environ["PEER_BATCH_SIZE"])
BATCH_TIMEOUT_S = float(os.environ["PEER_BATCH_S"])


class Doubler(litserve.LitAPI):
    """Runs the model on whole batches."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_TIMEOUT_S)
        self._model = model

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model in a worker process."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: Request) -> Any:
        """Return one row; LitServe reads the annotation and hands over the JSON document."""
        return np.asarray(request["x"], np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        """Return the rows as one array."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Return the outputs of a batch."""
        return self._session.run(None, {"x": x})[0]

    def unbatch(self, output: Any) -> Any:
        """Return the outputs of the rows."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return one row as JSON."""
        return {"y": output.tolist()}


def main(model: str, port: int, processes: int) -> None:
    """Serve until SIGTERM."""
    # fast_queue: ZeroMQ in place of multiprocessing's queues, for high request rates.
    server = litserve.LitServer(
        Doubler(model), accelerator="cpu", devices=1, workers_per_device=processes, fast_queue=True
    )
    server.run(host="127.0.0.1", port=port, num_api_servers=processes, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
