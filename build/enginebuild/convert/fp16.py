"""FP16: weights and arithmetic in half precision, inputs and outputs as the recipe declares them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel as OnnxGraph

from enginebuild.convert.export import assert_dynamic, write_onnx
from enginebuild.recipe.recipe import Recipe
from services.core.errors import BuildFailed


def convert_fp16(source: Path, recipe: Recipe, path: Path, keep: Collection[str] = ()) -> None:
    """Write the FP16 form of an FP32 ONNX model.

    Args:
        source: The FP32 model; of an INT8 one the scales become FP16 as well.
        recipe: The inputs and outputs that must stay dynamic.
        path: Where to write; it may be the source.
        keep: Names of operators that stay in FP32, beside those that ONNX Runtime knows to need it.

    Raises:
        BuildFailed: It cannot be converted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on every weight that is too small for FP16; the gate sees what it costs
            plain: Any = onnx.load(str(source))
            _drop_types_of_weights(plain.graph)
            model: Any = convert_float_to_float16(plain, keep_io_types=True, node_block_list=sorted(keep))
            _join_kept(model)
            # An output that is also used inside has its conversion appended behind those who use it.
            OnnxGraph(model).topological_sort()
    except OSError:
        raise
    except Exception as error:
        raise BuildFailed(f"{source.name} cannot be converted to FP16: {type(error).__name__}: {error}") from error
    write_onnx(model, path)
    assert_dynamic(path, recipe)


def _drop_types_of_weights(graph: Any) -> None:
    """Leave weights their own types: the conversion would take those that exporters note down for FP16 in any case."""
    held = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.value_info if value.name in held]:
        graph.value_info.remove(value)


def _join_kept(model: Any) -> None:
    """Let what stays in FP32 hand on FP32: the conversion rounds to FP16 and back between two such operators."""
    graph = model.graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types[value.name] = value.type.tensor_type.elem_type
    rounded = {node.output[0]: node.input[0] for node in graph.node if _casts(node, TensorProto.FLOAT16)}
    outputs = {value.name for value in graph.output}
    exact: dict[str, str] = {}
    for node in graph.node:
        before = rounded.get(node.input[0]) if _casts(node, TensorProto.FLOAT) else None
        if before is None or types.get(before) != TensorProto.FLOAT:
            continue
        if node.output[0] in outputs:
            node.input[0] = before  # its name is the model's: the conversion stays, from FP32 to FP32
        else:
            exact[node.output[0]] = before
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in exact:
                node.input[index] = exact[name]
    _drop_unread(graph, outputs)


def _drop_unread(graph: Any, outputs: Collection[str]) -> None:
    """Remove the conversions that nobody reads any more."""
    while True:
        read = {*_read(graph), *outputs}
        idle = [node for node in graph.node if node.op_type == "Cast" and node.output[0] not in read]
        if not idle:
            return
        gone = {node.output[0] for node in idle}
        for node in idle:
            graph.node.remove(node)
        for value in [value for value in graph.value_info if value.name in gone]:
            graph.value_info.remove(value)


def _read(graph: Any) -> Iterator[str]:
    """Yield what a graph's operators take, those of graphs inside it as well."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _read(inner)
                yield from (value.name for value in inner.output)


def _casts(node: Any, kind: int) -> bool:
    return node.op_type == "Cast" and any(one.name == "to" and one.i == kind for one in node.attribute)
