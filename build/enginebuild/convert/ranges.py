"""How large the values of a network become: of every tensor the largest magnitude that samples give it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from enginebuild.datatypes import Array, Arrays, is_floating
from enginebuild.runtime import OnnxModel, batch
from services.core.errors import BuildFailed

_BATCH = 32


def largest_values(model: Any, samples: Arrays, folder: Path, threads: int) -> dict[str, float]:
    """Return the largest finite magnitude of each FP32 tensor of an ONNX model: inputs, weights, and what is computed.

    Infinities are left out: FP16 has them too, and masks are made of them.

    Args:
        model: The model, in FP32 where it is no integer.
        samples: Inputs to run it on.
        folder: Where to work.
        threads: Threads inside one inference.

    Raises:
        BuildFailed: ONNX Runtime cannot run it.
    """
    found = {tensor.name: _most(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    found |= {name: _most(array) for name, array in samples.items()}
    probe, names = _probe(model)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        path = Path(work) / "probe.onnx"
        try:
            onnx.save_model(probe, str(path))
        except ValueError as error:
            raise BuildFailed(f"the ranges of the network cannot be measured: {error}") from error
        running = OnnxModel(path, threads)
        for start in range(0, len(next(iter(samples.values()))), _BATCH):
            for label, value in running.run(batch(samples, start, _BATCH)).items():
                found[names[label]] = max(found.get(names[label], 0.0), float(value))
    return found


def _most(array: Array) -> float:
    if not is_floating(array):
        return 0.0
    finite = np.abs(array[np.isfinite(array)].astype(np.float64))
    return float(finite.max(initial=0.0))


def _probe(model: Any) -> tuple[Any, dict[str, str]]:
    """Return a model whose outputs are the largest magnitudes, and the tensor that each of them is of."""
    typed = onnx.shape_inference.infer_shapes(model)
    graph = typed.graph
    floats = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    tensors = [name for node in graph.node for name in node.output if name in floats]
    names = {f"{name}/largest": name for name in tensors}
    del graph.output[:]
    graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "/zero"))
    for label, name in names.items():
        size, infinite, finite = (f"{name}/{step}" for step in ("size", "infinite", "finite"))
        graph.node.extend(
            [
                helper.make_node("Abs", [name], [size]),
                helper.make_node("IsInf", [name], [infinite]),
                helper.make_node("Where", [infinite, "/zero", size], [finite]),
                helper.make_node("ReduceMax", [finite], [label], keepdims=0),
            ]
        )
        graph.output.append(helper.make_tensor_value_info(label, TensorProto.FLOAT, []))
    return typed, names
