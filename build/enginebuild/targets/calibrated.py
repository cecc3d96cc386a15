"""INT8 forms of one network for one runtime, with the ranges of one calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from enginebuild.convert.int8 import Int8Converter, Int8Scheme
from enginebuild.convert.int8_rest import rest_to_fp16
from enginebuild.convert.sensitivity import sensitivity
from enginebuild.data import Dataset, load_calibration
from enginebuild.recipe.engine import Rest
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import OnnxModel
from services.core.records.manifest import CalibrationEntry, DataEntry, LayerEntry

# What sensitivity is measured on: enough to rank operators by.
_SENSITIVITY_SAMPLES = 32


class CalibratedInt8:
    """Calibrates when the first INT8 form is asked for, and only then.

    Args:
        recipe: How.
        code: The recipe's own code, which gives the calibration data.
        exported: The FP32 ONNX model.
        scheme: What the runtime wants.
        rest: What is computed in where it is not INT8.
        say: Tells a person what is under way.
    """

    def __init__(
        self,
        recipe: Recipe,
        code: RecipeCode,
        exported: Path,
        *,
        scheme: Int8Scheme,
        rest: Rest,
        say: Callable[[str], None],
    ) -> None:
        self._recipe, self._code, self._exported = recipe, code, exported
        self._scheme, self._rest, self._say = scheme, rest, say

    def write(self, path: Path, kept: Sequence[str]) -> CalibrationEntry:
        """Write the INT8 form with some operators left out of it, and return how it was calibrated.

        Raises:
            BuildFailed: It cannot be made.
        """
        data, converter = self._data, self._converter
        if not kept:
            self._say(f"quantising to INT8, calibrated on {data.samples} training samples")
        quantized = converter.convert(path, kept)
        beyond = rest_to_fp16(path, self._recipe, data.inputs) if self._rest == "fp16" else ()
        if beyond:
            self._say(f"{path.stem}: beyond FP16 and kept in FP32: {', '.join(beyond)}")
        settings, source = self._recipe.quantization, DataEntry(data.source, data.samples, data.sha256)
        return CalibrationEntry(
            method=settings.method,
            data=source,
            quantized=quantized,
            kept=(*settings.exclude, *kept),
            rest=self._rest,
            beyond_fp16=beyond,
        )

    def sensitivity(self) -> tuple[LayerEntry, ...]:
        """Return what quantising each operator alone does to the outputs, worst first, as ONNX Runtime computes it."""
        some = {name: array[:_SENSITIVITY_SAMPLES] for name, array in self._data.inputs.items()}
        baseline = OnnxModel(self._exported, self._recipe.serving.threads)
        return sensitivity(self._converter, baseline, some, self._recipe.serving.max_batch_size)

    @cached_property
    def _data(self) -> Dataset:
        return load_calibration(self._recipe, self._code)

    @cached_property
    def _converter(self) -> Int8Converter:
        folder = self._exported.parent
        return Int8Converter(self._exported, self._recipe, self._data.inputs, folder, self._scheme)
