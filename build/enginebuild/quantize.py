"""INT8 for ONNX Runtime's CPU kernels: unsigned activations, signed weights, a scale for every output channel.

This graph is for ONNX Runtime only. TensorRT wants signed activations and runs another one.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from enginebuild.datatypes import Arrays
from enginebuild.export import assert_dynamic, write_onnx
from enginebuild.recipe import Recipe
from enginebuild.runtime import batch
from services.core.errors import BuildFailed

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_BATCH = 32


class _Batches(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Hands the calibration samples to ONNX Runtime."""

    def __init__(self, inputs: Arrays) -> None:
        samples = len(next(iter(inputs.values())))
        self._left = iter([batch(inputs, start, _BATCH) for start in range(0, samples, _BATCH)])

    def get_next(self) -> Arrays | None:
        """Return the next batch, or None after the last."""
        return next(self._left, None)


def quantize_int8(source: Path, recipe: Recipe, calibration: Arrays, path: Path) -> None:
    """Write the INT8 form of an FP32 ONNX model.

    Args:
        source: The FP32 model.
        recipe: How to calibrate, and the inputs and outputs that must stay dynamic.
        calibration: Training inputs that the ranges are taken from.
        path: Where to write.

    Raises:
        BuildFailed: ONNX Runtime cannot quantise it, or nothing in it was quantised.
    """
    try:
        with _quiet(), tempfile.TemporaryDirectory(dir=path.parent) as work:
            prepared, quantized = Path(work) / "prepared.onnx", Path(work) / "quantized.onnx"
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(quantized),
                _Batches(calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=recipe.quantization.reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=_METHODS[recipe.quantization.method],
            )
            model: Any = onnx.load(str(quantized))
    except OSError:
        raise  # the disk, not the model
    except Exception as error:
        raise BuildFailed(f"{source.name} cannot be quantised to INT8: {type(error).__name__}: {error}") from error
    if not any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        raise BuildFailed(f"{source.name}: no operator of this network can be quantised to INT8")
    write_onnx(model, path)
    assert_dynamic(path, recipe)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice on its own defaults, which it logs to the root logger, from the person who builds."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
