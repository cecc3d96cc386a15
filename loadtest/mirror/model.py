"""A model of two versions that sleeps as long as a batch takes; version 2 differs on one input in a hundred.

Its other answers differ by a rounding, as those of another engine do: every pair has to be compared in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

NAME = "mirrored"
VERSIONS = (1, 2)
ONE_IN = 100
"""Version 2 answers otherwise where the first element of a row is a multiple of this."""


@dataclass(frozen=True, slots=True)
class MirroredModel:
    """A Python model that gives its input back.

    Attributes:
        batch: Largest batch.
        base_s: Seconds of a batch of any size.
        row_s: Seconds of each of its requests.
        elements: FP32 elements of a row.
    """

    batch: int
    base_s: float
    row_s: float
    elements: int

    def publish(self, repository: Path) -> None:
        """Write both versions."""
        for version in VERSIONS:
            folder = repository / NAME / str(version)
            folder.mkdir(parents=True)
            (folder / "model.py").write_text(self._code(version), encoding="utf-8")
        (repository / NAME / "config.pbtxt").write_text(self._config, encoding="utf-8")

    def requests(self, address: str) -> list[bytes]:
        """Return complete HTTP requests; one of them in ``ONE_IN`` is answered otherwise by version 2."""
        rows = np.random.default_rng(1).normal(size=(ONE_IN, self.elements)).astype("<f4")
        rows[:, 0] = np.arange(1, ONE_IN + 1)
        return [self._request(address, row.tobytes()) for row in rows]

    def _request(self, address: str, data: bytes) -> bytes:
        tensor = {
            "name": "x",
            "datatype": "FP32",
            "shape": [1, self.elements],
            "parameters": {"binary_data_size": len(data)},
        }
        header = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
        head = (
            f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: {address}\r\n"
            f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {len(header) + len(data)}\r\n\r\n"
        )
        return head.encode("ascii") + header + data

    @property
    def _config(self) -> str:
        return f"""name: "{NAME}"
backend: "python"
max_batch_size: {self.batch}
version_policy {{ all {{ }} }}
input [{{ name: "x" data_type: TYPE_FP32 dims: [{self.elements}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [{self.elements}] }}]
dynamic_batching {{ }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""

    def _code(self, version: int) -> str:
        return f'''"""Sleeps as long as a batch takes, and gives its input back; version 2 now and then another."""

import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({self.base_s} + {self.row_s} * len(requests))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", self.answer(one))]) for one in requests]

    def answer(self, request):
        rows = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        if {version} == {VERSIONS[1]}:
            otherwise = rows[:, 0] % {ONE_IN} == 0
            rows = rows * np.float32(1.000001)  # other kernels round otherwise: no answer has equal bytes
            rows[otherwise, 0] += 1.0
        return rows
'''
