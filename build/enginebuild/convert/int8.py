"""INT8: a scale for every output channel, and for the rest what the runtime wants. No graph suits two of them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from enginebuild.convert.export import assert_dynamic, write_onnx
from enginebuild.datatypes import Arrays
from enginebuild.recipe.recipe import Recipe
from enginebuild.runtime import batch
from services.core.errors import BuildFailed, ConfigurationError

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_BATCH = 32
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True)
class Int8Scheme:
    """What a runtime wants of an INT8 graph.

    Attributes:
        activations: Type of quantised activations.
        computes: Operators that it computes in integers. Anything else would only be rounded, and run in floats.
        passes_on: Operators that hand integers on as they are, so that they need not become floats in between.
        options: ONNX Runtime's extra options for it.
    """

    activations: Any
    computes: frozenset[str]
    passes_on: frozenset[str]
    options: Mapping[str, Any]


# ONNX Runtime's CPU kernels: unsigned activations, signed weights.
CPU_SCHEME = Int8Scheme(
    activations=QuantType.QUInt8,
    computes=_PRODUCTS
    | {"Add", "Mul", "Softmax", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"},
    passes_on=frozenset(
        {
            *("Relu", "Clip", "MaxPool", "Pad", "Resize", "Where", "Gather"),
            *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split"),
        }
    ),
    options={"CalibTensorRangeSymmetric": False},
)
# TensorRT: signed and symmetric; it fuses a quantisation with what stands behind it, so products keep float outputs and
# biases, and every consumer has a pair of its own. Additions are those of residual connections.
TENSORRT_SCHEME = Int8Scheme(
    activations=QuantType.QInt8,
    computes=_PRODUCTS | {"Add"},
    passes_on=frozenset({"MaxPool"}),
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "DedicatedQDQPair": True,
        "AddQDQPairToWeight": True,
        "OpTypesToExcludeOutputQuantization": sorted(_PRODUCTS | {"Add"}),
    },
)


class _Batches(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Hands the calibration samples to ONNX Runtime."""

    def __init__(self, inputs: Arrays) -> None:
        samples = len(next(iter(inputs.values())))
        self._left = iter([batch(inputs, start, _BATCH) for start in range(0, samples, _BATCH)])

    def get_next(self) -> Arrays | None:
        """Return the next batch, or None after the last."""
        return next(self._left, None)


class Int8Converter:
    """Makes INT8 forms of one FP32 ONNX model, all with the ranges of one calibration.

    Args:
        source: The FP32 model.
        recipe: How to calibrate, and the inputs and outputs that must stay dynamic.
        calibration: Training inputs that the ranges are taken from.
        folder: Where to work.
        scheme: What the runtime wants.

    Raises:
        BuildFailed: ONNX Runtime cannot read it.
        ConfigurationError: The recipe excludes an operator that is not there.
    """

    def __init__(
        self, source: Path, recipe: Recipe, calibration: Arrays, folder: Path, scheme: Int8Scheme = CPU_SCHEME
    ) -> None:
        self._source, self._recipe, self._calibration, self._scheme = source, recipe, calibration, scheme
        self._prepared = folder / f"{source.stem}.prepared.onnx"
        self._ranges = folder / f"{source.stem}.ranges.json"
        with _conversion(source):
            quant_pre_process(str(source), str(self._prepared), skip_symbolic_shape=True)
            model: Any = onnx.load(str(self._prepared))
            for number, node in enumerate(model.graph.node):
                node.name = node.name or f"{node.op_type}_{number}"
            onnx.save_model(model, str(self._prepared))
        self.operators: dict[str, str] = {node.name: node.op_type for node in model.graph.node}
        """Every operator of the network that can be converted: its kind by its name."""
        if unknown := [name for name in recipe.quantization.exclude if name not in self.operators]:
            likely = [name for name, kind in self.operators.items() if kind in scheme.computes]
            raise ConfigurationError(
                f"quantization.exclude: the network has no operator '{unknown[0]}'; it has {', '.join(likely[:20])}"
            )

    @property
    def candidates(self) -> list[str]:
        """The operators whose conversion makes a difference to speed, in the network's order."""
        excluded = set(self._recipe.quantization.exclude)
        return [name for name, kind in self.operators.items() if kind in self._scheme.computes and name not in excluded]

    def convert(self, path: Path, keep: Sequence[str] = ()) -> int:
        """Write the INT8 form, some operators left out of it, and return how many operators are quantised.

        Raises:
            BuildFailed: ONNX Runtime cannot quantise it, or nothing in it was quantised.
        """
        return self._write(path, nodes_to_exclude=[*self._recipe.quantization.exclude, *keep])

    def convert_only(self, path: Path, operator: str) -> None:
        """Write the form in which one operator alone is INT8.

        Raises:
            BuildFailed: ONNX Runtime cannot quantise it.
        """
        self._write(path, nodes_to_quantize=[operator])

    def _write(self, path: Path, **choice: list[str]) -> int:
        settings = self._recipe.quantization
        scheme, extra = self._scheme, dict(self._scheme.options)
        if settings.method == "percentile":
            extra["CalibPercentile"] = settings.percentile
        with _conversion(self._source), tempfile.TemporaryDirectory(dir=path.parent) as work:
            written = Path(work) / "quantized.onnx"
            quantize_static(
                str(self._prepared),
                str(written),
                _Batches(self._calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=sorted(scheme.computes | scheme.passes_on),
                per_channel=True,
                reduce_range=settings.reduce_range,
                activation_type=scheme.activations,
                weight_type=QuantType.QInt8,
                calibrate_method=_METHODS[settings.method],
                extra_options=extra,
                calibration_cache_path=str(self._ranges),
                **choice,
            )
            model: Any = onnx.load(str(written))
        return _checked(model, self._source, self._recipe, path, scheme.computes)


def quantize_weights(source: Path, recipe: Recipe, path: Path) -> int:
    """Write the form with INT8 weights whose activations are quantised while it runs; return how many operators are.

    It needs no calibration and suits networks of large matrix products, such as transformers.

    Raises:
        BuildFailed: ONNX Runtime cannot quantise it, or nothing in it was quantised.
    """
    with _conversion(source), tempfile.TemporaryDirectory(dir=path.parent) as work:
        prepared, written = Path(work) / "prepared.onnx", Path(work) / "quantized.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model: Any = onnx.load(str(prepared))
        del model.graph.value_info[:]  # a Gemm becomes a MatMul of transposed weights, whose old shape would not fit
        onnx.save_model(model, str(prepared))
        quantize_dynamic(
            str(prepared),
            str(written),
            per_channel=True,
            reduce_range=recipe.quantization.reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=recipe.quantization.exclude,
        )
        model = onnx.load(str(written))
    return _checked(model, source, recipe, path, CPU_SCHEME.computes)


def _checked(model: Any, source: Path, recipe: Recipe, path: Path, computes: frozenset[str]) -> int:
    quantized = _quantized(model.graph, computes)
    if not quantized:
        raise BuildFailed(f"{source.name}: no operator of this network can be quantised to INT8")
    write_onnx(model, path)
    assert_dynamic(path, recipe)
    return quantized


def _quantized(graph: Any, computes: frozenset[str]) -> int:
    """Return how many operators work on quantised values alone; the bias of a product may be a float."""
    whole = ("MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
    opened = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}

    def is_quantized(node: Any) -> bool:
        inputs = node.input[:2] if node.op_type in _PRODUCTS else node.input
        return node.op_type in computes and all(name in opened for name in inputs if name)

    return sum(node.op_type in whole or is_quantized(node) for node in graph.node)


@contextmanager
def _conversion(source: Path) -> Iterator[None]:
    """Say what failed, and keep ONNX Runtime's advice on its own defaults (in the root logger) from the person."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except OSError:
        raise  # the disk, not the model
    except Exception as error:
        raise BuildFailed(f"{source.name} cannot be quantised to INT8: {type(error).__name__}: {error}") from error
    finally:
        logger.setLevel(level)
