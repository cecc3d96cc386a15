"""ONNX Runtime on this machine's CPU: variants are made from one FP32 ONNX model."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime

from enginebuild.candidates import Made
from enginebuild.convert.fp16 import convert_fp16
from enginebuild.convert.int8 import CPU_SCHEME, quantize_weights
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import Variant
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import PROVIDER, OnnxModel
from enginebuild.targets.calibrated import CalibratedInt8
from enginebuild.targets.target import Backend
from services.core.errors import BuildFailed
from services.core.records.manifest import LayerEntry, TargetEntry

_CPUINFO = Path("/proc/cpuinfo")


class OnnxRuntimeTarget:
    """Makes and runs variants for ONNX Runtime.

    Args:
        recipe: How.
        code: The recipe's own code, which gives the calibration data.
        exported: Where the FP32 ONNX model will be; variants are written beside it.
        say: Tells a person what is under way.
    """

    def __init__(self, recipe: Recipe, code: RecipeCode, exported: Path, say: Callable[[str], None]) -> None:
        self._recipe, self._exported, self._say = recipe, exported, say
        self._int8 = CalibratedInt8(recipe, code, exported, scheme=CPU_SCHEME, rest="fp32", say=say)
        self.entry = TargetEntry("onnxruntime", onnxruntime.__version__, cpu_name(), None, {})
        self.provider = PROVIDER
        self.backend = cpu_backend(recipe)

    def make(self, variant: Variant, kept: Sequence[str] = ()) -> Made:
        """Make a variant, an INT8 one without some operators.

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
                return Made(variant, path, self._int8.write(path, kept))

    def proved(self, made: Made) -> Made:
        """Return what was made: it was judged by running it, and there is nothing more to show."""
        return made

    def sensitivity(self) -> tuple[LayerEntry, ...]:
        """Return what quantising each operator alone does to the outputs, worst first."""
        return self._int8.sensitivity()

    def load(self, path: Path) -> OnnxModel:
        """Load what was made.

        Raises:
            BuildFailed: ONNX Runtime cannot load it.
        """
        return OnnxModel(path, self._recipe.serving.threads)


def cpu_backend(recipe: Recipe) -> Backend:
    """Return how Triton runs a recipe's model on a CPU."""
    threads = {"intra_op_thread_count": recipe.serving.threads, "inter_op_thread_count": 1}
    return Backend("onnxruntime", "model.onnx", "KIND_CPU", threads)


def cpu_name() -> str:
    """Return the name of this machine's processor."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # not Linux
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
