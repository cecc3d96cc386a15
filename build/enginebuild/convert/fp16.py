"""FP16: weights and arithmetic in half precision, inputs and outputs as the recipe declares them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel as OnnxGraph

from enginebuild.convert.export import assert_dynamic, write_onnx
from enginebuild.recipe.recipe import Recipe
from services.core.errors import BuildFailed


def convert_fp16(source: Path, recipe: Recipe, path: Path) -> None:
    """Write the FP16 form of an FP32 ONNX model.

    Raises:
        BuildFailed: It cannot be converted.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on every weight that is too small for FP16; the gate sees what it costs
            model: Any = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
            # An output that is also used inside has its conversion appended behind those who use it.
            OnnxGraph(model).topological_sort()
    except OSError:
        raise
    except Exception as error:
        raise BuildFailed(f"{source.name} cannot be converted to FP16: {type(error).__name__}: {error}") from error
    write_onnx(model, path)
    assert_dynamic(path, recipe)
