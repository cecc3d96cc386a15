"""BF16: the range of FP32 at 8 bits of mantissa; inputs and outputs as the recipe declares them. For TensorRT only."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import onnx
from onnx import numpy_helper, version_converter
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel as OnnxGraph

from enginebuild.convert.export import assert_dynamic, write_onnx
from enginebuild.datatypes import Array
from enginebuild.recipe.recipe import Recipe
from services.core.errors import BuildFailed

_FP16, _BF16 = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
# The first in which convolutions may be BF16; TensorRT reads it since 10.9.
_OPSET = 22
# Attributes that name a datatype.
_TYPED = frozenset({"to", "dtype"})


def convert_bf16(source: Path, recipe: Recipe, path: Path) -> None:
    """Write the BF16 form of an FP32 ONNX model.

    Which operators stay in FP32, and where casts must stand, is what ONNX Runtime's FP16 conversion knows. Its graph is
    taken, and every FP16 in it becomes BF16; the weights are rounded from FP32, because FP16 would cut them off.

    Raises:
        BuildFailed: It cannot be converted, or has FP16 in it already.
    """
    plain: Any = onnx.load(str(source))
    if any(graph.has_fp16 for graph in _graphs(plain.graph)):
        raise BuildFailed(f"{source.name} cannot be converted to BF16: it has FP16 in it already")
    try:
        weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in plain.graph.initializer}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on weights that FP16 cannot hold; BF16 can
            model: Any = convert_float_to_float16(plain, keep_io_types=True)
        for graph in _graphs(model.graph):
            graph.exchange(weights)
        OnnxGraph(model).topological_sort()
        model = version_converter.convert_version(model, _OPSET)
    except OSError:
        raise
    except Exception as error:
        raise BuildFailed(f"{source.name} cannot be converted to BF16: {type(error).__name__}: {error}") from error
    write_onnx(model, path)
    assert_dynamic(path, recipe)


class _Graph:
    """One graph of a model, without those inside its operators."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    @property
    def has_fp16(self) -> bool:
        """Whether a tensor of it is FP16."""
        return any(tensor.data_type == _FP16 for tensor in self.graph.initializer) or any(
            value.type.tensor_type.elem_type == _FP16 for value in self._values()
        )

    def exchange(self, weights: dict[str, Array]) -> None:
        """Make every FP16 in it BF16; ``weights`` are the FP32 ones by name."""
        for tensor in self.graph.initializer:
            if tensor.data_type == _FP16:
                _round(tensor, weights.get(tensor.name))
        for value in self._values():
            if value.type.tensor_type.elem_type == _FP16:
                value.type.tensor_type.elem_type = _BF16
        for node in self.graph.node:
            for attribute in node.attribute:
                if attribute.name in _TYPED and attribute.i == _FP16:
                    attribute.i = _BF16
                for tensor in (attribute.t, *attribute.tensors):
                    if tensor.data_type == _FP16:
                        _round(tensor, None)

    def _values(self) -> Iterator[Any]:
        yield from self.graph.input
        yield from self.graph.output
        yield from self.graph.value_info


def _graphs(graph: Any) -> Iterator[_Graph]:
    """Yield a graph and all those inside its operators."""
    yield _Graph(graph)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(inner)


def _round(tensor: Any, exact: Array | None) -> None:
    """Make a tensor BF16, from its FP32 values where there are some."""
    values = numpy_helper.to_array(tensor) if exact is None else exact
    tensor.CopyFrom(numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), tensor.name))
