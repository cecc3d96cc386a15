"""What an INT8 graph computes outside INT8, in FP16, and what of it FP16 cannot hold.

Q/DQ pairs take their type from their scales, which ONNX lets be FP16 from opset 19 on. TensorRT's parser takes FP16
scales, demands that a quantised tensor has the type of its scale, and gives the type of the scale to what is
dequantised: https://github.com/onnx/onnx-tensorrt, ``QuantDequantLinearHelper`` in onnxOpImporters.cpp.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from enginebuild.convert.fp16 import convert_fp16
from enginebuild.convert.ranges import largest_values
from enginebuild.datatypes import Array, Arrays
from enginebuild.recipe.recipe import Recipe

# Live data go beyond what the calibration data show.
_HEADROOM = 2.0
_MOST = float(np.finfo(np.float16).max) / _HEADROOM
# How far a scale may move when it is rounded to FP16, in shares of the largest: half a step of 127.
_COARSE = 1 / 256
_PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})


def rest_to_fp16(path: Path, recipe: Recipe, samples: Arrays) -> tuple[str, ...]:
    """Convert what is not INT8 in an INT8 graph to FP16, in place; return the operators that stay in FP32.

    An operator stays with its Q/DQ pairs where a weight or value that it takes or gives is beyond FP16 on the samples,
    with some room, or where a scale is so small that FP16 would round it by more than half a step.

    Args:
        path: The INT8 graph.
        recipe: The inputs and outputs that must stay dynamic.
        samples: Calibration inputs, which the values are measured on.

    Raises:
        BuildFailed: It cannot be converted, or ONNX Runtime cannot run it.
    """
    model: Any = onnx.load(str(path))
    largest = largest_values(model, samples, path.parent, recipe.serving.threads)
    kept = _kept(model.graph, largest)
    convert_fp16(path, recipe, path, kept)
    return tuple(node.name for node in model.graph.node if node.name in kept and node.op_type not in _PAIR)


def _kept(graph: Any, largest: Mapping[str, float]) -> set[str]:
    """Return the names of the operators and pairs that stay in FP32."""
    held = {tensor.name: tensor for tensor in graph.initializer}
    beyond = {name for name, most in largest.items() if most > _MOST}
    for node in graph.node:
        if node.op_type in _PAIR and node.input[1] in held and _is_coarse(numpy_helper.to_array(held[node.input[1]])):
            beyond |= {*node.output}
    kept = {node.name for node in graph.node if beyond & {*node.input, *node.output}}
    # An operator and its pairs are one kernel: a conversion between them would keep TensorRT from fusing them.
    together = _together(graph)
    waiting = list(kept)
    while waiting:
        more = together[waiting.pop()] - kept
        kept |= more
        waiting += more
    return kept


def _together(graph: Any) -> Mapping[str, set[str]]:
    """Return for each operator its own pairs, and for each pair its other half and its operators."""
    readers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node.name)
    found = defaultdict(set)
    for node in graph.node:
        if node.op_type in _PAIR:
            for reader in readers[node.output[0]]:
                found[node.name].add(reader)
                found[reader].add(node.name)
    return found


def _is_coarse(scale: Array) -> bool:
    rounded = scale.astype(np.float16).astype(np.float64)
    return bool(np.abs(rounded - scale).max() > _COARSE * scale.max())
