"""A small convolutional network as an ONNX file, made by hand, and a recipe of its inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from enginebuild.recipe.recipe import Recipe
from onnx import TensorProto, helper, numpy_helper

from tests.fakes import tiny_recipe

WEIGHTS = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)


def recipe() -> Recipe:
    """Return the recipe."""
    return tiny_recipe.recipe(
        inputs=[{"name": "image", "datatype": "FP32", "dims": [1, 8, 8]}],
        outputs=[{"name": "scores", "datatype": "FP32", "dims": [4], "labels": "l.txt"}],
        metrics=[{"metric": "accuracy"}],
    )


def network(path: Path, kind: int = TensorProto.FLOAT, largest: float = 1.0) -> Path:
    """Write a convolution, a mean and a sum; ``largest`` is the first weight."""
    image = helper.make_tensor_value_info("image", kind, ["batch", 1, 8, 8])
    scores = helper.make_tensor_value_info("scores", kind, ["batch", 4])
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["some"], name="relu"),
        helper.make_node("ReduceMean", ["some", "axes"], ["means"], name="mean", keepdims=0),
        helper.make_node("Add", ["means", "b"], ["scores"], name="add"),
    ]
    numpy = helper.tensor_dtype_to_np_dtype(kind)
    weights = WEIGHTS.copy()
    weights.flat[0] = largest
    held = {"w": weights.astype(numpy), "b": np.ones(4, numpy), "axes": np.array([2, 3])}
    graph = helper.make_graph(
        nodes, "g", [image], [scores], [numpy_helper.from_array(array, name) for name, array in held.items()]
    )
    model: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.save_model(model, str(path))
    return path
