"""A model of known capacity that leaves the CPU to others: it sleeps, as a machine does while a GPU works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SleepingModel:
    """A Python model that sleeps as long as a batch takes, and gives its input ``x`` back as ``y``: one FP32 per row.

    Attributes:
        name: Model name.
        batch: Largest batch.
        base_s: Seconds of a batch of any size.
        row_s: Seconds of each of its requests.
    """

    name: str
    batch: int
    base_s: float
    row_s: float

    def publish(self, repository: Path) -> None:
        """Write version 1."""
        folder = repository / self.name / "1"
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(self._code, encoding="utf-8")
        (repository / self.name / "config.pbtxt").write_text(self._config, encoding="utf-8")

    @property
    def _config(self) -> str:
        return f"""name: "{self.name}"
backend: "python"
max_batch_size: {self.batch}
input [{{ name: "x" data_type: TYPE_FP32 dims: [1] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [1] }}]
dynamic_batching {{ }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""

    @property
    def _code(self) -> str:
        return f'''"""Sleeps as long as a batch takes, and gives its input back."""

import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({self.base_s} + {self.row_s} * len(requests))
        inputs = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", one)]) for one in inputs]
'''
