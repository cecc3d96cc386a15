"""Which targets there are, and whether this machine has what they need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from enginebuild.datatypes import Arrays
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipecode import RecipeCode
from enginebuild.targets.onnxruntime import OnnxRuntimeTarget
from enginebuild.targets.target import Target

TargetName = Literal["onnxruntime", "tensorrt"]


# Makes the target of one build from the recipe, its code, the path where the FP32 ONNX model will be, held-out inputs,
# and what tells a person what is under way; ConfigurationError where the recipe lacks something that the target needs.
TargetMaker = Callable[[Recipe, RecipeCode, Path, Arrays, Callable[[str], None]], Target]


def find_target(name: TargetName) -> TargetMaker:
    """Return what makes a target, once it is sure that this machine has it.

    Raises:
        MissingDependency: It has not.
    """
    if name == "onnxruntime":
        return _onnxruntime
    from enginebuild.targets.tensorrt.machine import find_machine
    from enginebuild.targets.tensorrt.target import TensorRtTarget

    machine = find_machine()
    return lambda recipe, code, exported, samples, say: TensorRtTarget(
        machine=machine, recipe=recipe, code=code, exported=exported, samples=samples, say=say
    )


def _onnxruntime(
    recipe: Recipe,
    code: RecipeCode,
    exported: Path,
    samples: Arrays,  # noqa: ARG001 - nothing is compared on them: the judge runs the model itself
    say: Callable[[str], None],
) -> Target:
    return OnnxRuntimeTarget(recipe, code, exported, say)
