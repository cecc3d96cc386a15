"""Two models for the hostile inputs, in Triton's Python backend: one echoes numbers and texts, one is decoupled."""

from __future__ import annotations

from pathlib import Path

ECHO = "hostile_echo"
REPEAT = "hostile_repeat"
_ECHO_SOURCE = '''"""Gives every input back as the output of its name."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(output_tensors=request.inputs()) for request in requests]
'''
_REPEAT_SOURCE = '''"""Gives its input back five times."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for _ in range(5):
                sender.send(pb_utils.InferenceResponse(output_tensors=request.inputs()))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
'''
_DIMS = {"FP32": "-1, -1", "INT8": "-1", "STRING": "-1"}


def publish(repository: Path) -> None:
    """Write both models, with inputs and outputs ``FP32``, ``INT8`` and ``STRING``, each of which may be left out."""
    tensors = "".join(
        f'input [{{ name: "{name}" data_type: TYPE_{name} dims: [{dims}] optional: true }}]\n'
        f'output [{{ name: "{name}" data_type: TYPE_{name} dims: [{dims}] }}]\n'
        for name, dims in _DIMS.items()
    )
    _write(repository / ECHO, _ECHO_SOURCE, tensors)
    _write(repository / REPEAT, _REPEAT_SOURCE, tensors + "model_transaction_policy { decoupled: true }\n")


def _write(folder: Path, source: str, config: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(source, "utf-8")
    head = f'name: "{folder.name}"\nbackend: "python"\nmax_batch_size: 0\n'
    group = "instance_group [{ count: 1 kind: KIND_CPU }]\n"
    (folder / "config.pbtxt").write_text(head + config + group, "utf-8")
