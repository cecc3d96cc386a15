"""PyTorch to ONNX, with the batch dimension proved to be dynamic."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from enginebuild.datatypes import Arrays, is_floating
from enginebuild.network import NamedNetwork, check_outputs
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import Input
from enginebuild.runtime import OnnxModel, repeat_to
from services.core.errors import BuildFailed, ConfigurationError

# Read by the ONNX Runtime of every supported Triton container; with newer ones attention masks export badly.
OPSET = 20
# With an example batch of 1 the exporter takes the batch for a constant, on the output even without a word.
EXAMPLE_BATCH = 2
CHECKED_BATCHES = (1, 5)
# FP32 sums in another order: far above rounding, far below any wrong operator.
TOLERANCE = 1e-3

_REASON_LINES = 3


def export_onnx(network: NamedNetwork, recipe: Recipe, samples: Arrays, path: Path) -> None:
    """Write the network as ONNX and prove that it takes any batch and computes what PyTorch computes.

    Args:
        network: The network with its weights.
        recipe: Its inputs and outputs.
        samples: Held-out inputs; the example and the checks use the first of them.
        path: Where to write.

    Raises:
        BuildFailed: It cannot be exported, a dimension came out static, or ONNX Runtime computes something else.
    """
    example = tuple(torch.tensor(array) for array in repeat_to(samples, EXAMPLE_BATCH).values())
    axes = tuple(_dynamic_axes(spec) for spec in recipe.inputs)
    try:
        with _quiet():
            program = torch.onnx.export(
                network,
                example,
                input_names=network.input_names,
                output_names=network.output_names,
                dynamic_shapes=(axes,),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise BuildFailed(
            f"'{recipe.network.source}' cannot be exported to ONNX: {_reason(error)}. "
            "The usual causes: a batch size or another number fixed in the code, or control flow on values"
        ) from error
    if program is None:
        raise BuildFailed(f"'{recipe.network.source}': the exporter returned nothing")
    model: Any = program.model_proto
    _strip_metadata(model)
    write_onnx(model, path)
    assert_dynamic(path, recipe)
    _compare(network, recipe, samples, path)


def write_onnx(model: Any, path: Path) -> None:
    """Check an ONNX model and write it as one file.

    Raises:
        BuildFailed: The model is not valid, or too large for one file (2 GiB).
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.save_model(model, str(path))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise BuildFailed(f"{path.name} is not valid ONNX: {_reason(error)}") from error


def assert_dynamic(path: Path, recipe: Recipe) -> None:
    """Require a symbolic batch dimension, and a symbolic one for every -1, on every input and output.

    Raises:
        BuildFailed: One is missing or a constant.
    """
    graph = onnx.load(str(path), load_external_data=False).graph
    for kind, specs, values in (("input", recipe.inputs, graph.input), ("output", recipe.outputs, graph.output)):
        by_name = {value.name: value for value in values}
        if set(by_name) != {spec.name for spec in specs}:
            expected = ", ".join(spec.name for spec in specs)
            raise BuildFailed(f"{path.name} has {kind}s {', '.join(by_name)}; the recipe says {expected}")
        for spec in specs:
            _assert_symbolic(path, kind, spec, by_name[spec.name].type.tensor_type.shape.dim)


def _assert_symbolic(path: Path, kind: str, spec: Input, dims: Sequence[Any]) -> None:
    declared = [-1, *spec.dims]
    found = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in dims]
    if len(found) != len(declared):
        raise BuildFailed(f"{path.name}: {kind} '{spec.name}' has shape {found}, expected {declared}")
    for axis, (want, have) in enumerate(zip(declared, found, strict=True)):
        if want == -1 and isinstance(have, int):
            what = "batch dimension" if axis == 0 else f"dimension {axis}"
            raise BuildFailed(
                f"{path.name}: the {what} of {kind} '{spec.name}' is the constant {have}; "
                "the network fixes it (a view or reshape with a number in it?)"
            )


def _compare(network: NamedNetwork, recipe: Recipe, samples: Arrays, path: Path) -> None:
    model = OnnxModel(path, recipe.serving.threads)
    checks = [repeat_to(samples, size) for size in CHECKED_BATCHES]
    if any(-1 in spec.dims for spec in recipe.inputs) and _takes(network, _halved(recipe, samples)):
        checks.append(_halved(recipe, samples))
    for inputs in checks:
        _compare_one(network, model, recipe, inputs)


def _takes(network: NamedNetwork, inputs: Arrays) -> bool:
    """Return whether PyTorch itself takes these sizes: a network may want multiples of something."""
    try:
        network.run(inputs, EXAMPLE_BATCH)
    except ConfigurationError:
        return False
    return True


def _compare_one(network: NamedNetwork, model: OnnxModel, recipe: Recipe, inputs: Arrays) -> None:
    size = len(next(iter(inputs.values())))
    expected, found = network.run(inputs, size), model.run(inputs)
    check_outputs(model.path.name, recipe.outputs, found, size)
    for name, want in expected.items():
        off = relative_difference(want, found[name])
        if off > TOLERANCE:
            shapes = ", ".join(f"{given} {list(array.shape)}" for given, array in inputs.items())
            raise BuildFailed(
                f"{model.path.name}: output '{name}' differs from PyTorch by {off:.2g} of its range for {shapes}; "
                f"at most {TOLERANCE:g} was expected"
            )


def _halved(recipe: Recipe, samples: Arrays) -> Arrays:
    """Return two samples with every dimension of any size cut to half."""
    inputs = repeat_to(samples, EXAMPLE_BATCH)
    for spec in recipe.inputs:
        for axis, dim in enumerate(spec.dims, 1):
            if dim == -1:
                half = -(-inputs[spec.name].shape[axis] // 2)
                inputs[spec.name] = np.ascontiguousarray(inputs[spec.name].take(range(half), axis=axis))
    return inputs


def relative_difference(expected: Any, found: Any) -> float:
    """Return the largest difference of finite elements, relative to the largest of them or to 1, whichever is more."""
    if not is_floating(expected):
        return float(np.any(expected != found))
    both = np.isfinite(expected) & np.isfinite(found)
    if not both.any():
        return 0.0
    want, have = expected[both].astype(np.float64), found[both].astype(np.float64)
    return float(np.abs(want - have).max() / max(1.0, float(np.abs(want).max())))


def _dynamic_axes(spec: Input) -> dict[int, Any]:
    dynamic = torch.export.Dim.DYNAMIC
    return {axis: dynamic for axis, dim in enumerate([-1, *spec.dims]) if dim == -1}


def _strip_metadata(model: Any) -> None:
    """Drop what the exporter notes down of this machine: stack traces with paths make equal models differ."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for group in (model.graph.node, model.graph.input, model.graph.output, model.graph.value_info):
        for item in group:
            del item.metadata_props[:]
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own deprecations and its remarks on absent packages from the person who builds."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the lines that say something; the exporter wraps reasons in pages of advice."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {' '.join(lines[:_REASON_LINES]) or 'no reason given'}"
