"""Two models for the hostile inputs, in Triton's Python backend: one echoes numbers and texts, one batches."""

from __future__ import annotations

from pathlib import Path

ECHO = "hostile_echo"
_SOURCE = '''"""Gives every input back as the output of its name."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(output_tensors=request.inputs()) for request in requests]
'''
_DIMS = {"FP32": "-1, -1", "INT8": "-1", "STRING": "-1"}


def publish(repository: Path) -> None:
    """Write the model, with inputs and outputs ``FP32``, ``INT8`` and ``STRING``, each of which may be left out."""
    folder = repository / ECHO / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(_SOURCE, "utf-8")
    tensors = "".join(
        f'input [{{ name: "{name}" data_type: TYPE_{name} dims: [{dims}] optional: true }}]\n'
        f'output [{{ name: "{name}" data_type: TYPE_{name} dims: [{dims}] }}]\n'
        for name, dims in _DIMS.items()
    )
    head = f'name: "{ECHO}"\nbackend: "python"\nmax_batch_size: 0\n'
    group = "instance_group [{ count: 1 kind: KIND_CPU }]\n"
    (repository / ECHO / "config.pbtxt").write_text(head + tensors + group, "utf-8")
