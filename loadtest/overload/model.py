"""A model of known capacity that leaves the CPU to others: it sleeps, as a gateway's machine does while a GPU works."""

from __future__ import annotations

from pathlib import Path

import orjson

NAME = "overload"
BATCH = 4
BASE_S = 0.030
ROW_S = 0.002

_CONFIG = f"""name: "{NAME}"
backend: "python"
max_batch_size: {BATCH}
input [{{ name: "x" data_type: TYPE_FP32 dims: [1] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [1] }}]
dynamic_batching {{ }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""
_CODE = f'''"""Sleeps as long as a batch takes, and gives its input back."""

import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({BASE_S} + {ROW_S} * len(requests))
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", one)]) for one in inputs]
'''


def publish(repository: Path) -> None:
    """Write version 1."""
    folder = repository / NAME / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(_CODE, encoding="utf-8")
    (repository / NAME / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")


def request_bytes(address: str, deadline_s: float) -> bytes:
    """Return one complete HTTP request that has so much time."""
    body = orjson.dumps(
        {
            "parameters": {"timeout": int(deadline_s * 1e6)},
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.5]}],
        }
    )
    head = (
        f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: {address}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body
