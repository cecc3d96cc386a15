"""ONNX Runtime on this machine's CPU: variants are made from one FP32 ONNX model."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime

from enginebuild.candidates import Made
from enginebuild.convert.fp16 import convert_fp16
from enginebuild.convert.int8 import Int8Converter, quantize_weights
from enginebuild.convert.sensitivity import sensitivity
from enginebuild.data import Dataset, load_calibration
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import Variant
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import PROVIDER, OnnxModel
from services.core.errors import BuildFailed
from services.core.manifest import CalibrationEntry, DataEntry, LayerEntry, TargetEntry

# What sensitivity is measured on: enough to rank operators by.
_SENSITIVITY_SAMPLES = 32
_CPUINFO = Path("/proc/cpuinfo")


class OnnxRuntimeTarget:
    """Makes and runs variants for ONNX Runtime.

    Args:
        recipe: How.
        code: The recipe's own code, which gives the calibration data.
        exported: The FP32 ONNX model; variants are written beside it.
        say: Tells a person what is under way.
    """

    def __init__(self, recipe: Recipe, code: RecipeCode, exported: Path, say: Callable[[str], None]) -> None:
        self._recipe, self._code, self._exported, self._say = recipe, code, exported, say
        self._calibrated: tuple[Int8Converter, Dataset] | None = None
        self.entry = TargetEntry("onnxruntime", onnxruntime.__version__, cpu_name(), None, {})
        self.provider = PROVIDER

    def make(self, variant: Variant, kept: Sequence[str] = ()) -> Made:
        """Make a variant, an INT8 one with some operators in FP32.

        Raises:
            BuildFailed: It cannot be made, or this machine could not run it.
        """
        path = self._exported.with_name(f"{variant.name}.onnx")
        match variant.precision:
            case "fp32":
                return Made(variant, self._exported)
            case "fp16":
                self._say("converting to FP16")
                convert_fp16(self._exported, self._recipe, path)
                return Made(variant, path)
            case "bf16":
                raise BuildFailed("ONNX Runtime has no BF16 kernels for a CPU; --target tensorrt has, on a GPU")
            case "int8_dynamic":
                self._say("quantising the weights to INT8")
                quantize_weights(self._exported, self._recipe, path)
                return Made(variant, path)
            case "int8":
                return self._quantized(variant, path, kept)

    def sensitivity(self) -> tuple[LayerEntry, ...]:
        """Return what quantising each operator alone does to the outputs, worst first."""
        converter, data = self._int8()
        some = {name: array[:_SENSITIVITY_SAMPLES] for name, array in data.inputs.items()}
        return sensitivity(converter, self.load(self._exported), some, self._recipe.serving.max_batch_size)

    def load(self, path: Path) -> OnnxModel:
        """Load what was made.

        Raises:
            BuildFailed: ONNX Runtime cannot load it.
        """
        return OnnxModel(path, self._recipe.serving.threads)

    def _quantized(self, variant: Variant, path: Path, kept: Sequence[str]) -> Made:
        converter, data = self._int8()
        if not kept:
            self._say(f"quantising to INT8, calibrated on {data.samples} training samples")
        quantized = converter.convert(path, kept)
        settings, source = self._recipe.quantization, DataEntry(data.source, data.samples, data.sha256)
        entry = CalibrationEntry(settings.method, source, quantized, (*settings.exclude, *kept))
        return Made(variant, path, entry)

    def _int8(self) -> tuple[Int8Converter, Dataset]:
        if self._calibrated is None:
            data = load_calibration(self._recipe, self._code)
            folder = self._exported.parent
            self._calibrated = Int8Converter(self._exported, self._recipe, data.inputs, folder), data
        return self._calibrated


def cpu_name() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # not Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
