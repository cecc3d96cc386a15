"""Triton's ``config.pbtxt``, written from the recipe and the target: the same recipe gives the same bytes.

What ONNX Runtime runs stays on the CPU (``KIND_CPU``) on every machine, with or without a GPU: that is what was
measured, and the INT8 graph is made for CPU kernels. A GPU machine is served by another target, not by moving this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import Input, Output
from enginebuild.targets.target import Backend
from services.core.errors import BuildFailed, ConfigurationError

CONFIG_FILE = "config.pbtxt"


def label_files(recipe: Recipe) -> dict[str, str]:
    """Return the label file of each output with classes: ``labels.txt``, or one per output where there are several."""
    names = [output.name for output in recipe.class_outputs]
    if len(names) == 1:
        return {names[0]: "labels.txt"}
    # A tensor name may hold '/' and ':', a file name may not.
    return {name: f"labels_{i}_{''.join(c if c.isalnum() else '_' for c in name)}.txt" for i, name in enumerate(names)}


def render(recipe: Recipe, backend: Backend, sample_dims: Mapping[str, Sequence[int]]) -> str:
    """Return the text of ``config.pbtxt``.

    Args:
        recipe: What is served, and how.
        backend: What runs it.
        sample_dims: By input, dimensions without the batch that the warm-up uses where the recipe says -1.

    Raises:
        BuildFailed: The text does not parse as Triton's ModelConfig, which would be a mistake of this module.
    """
    serving, labels = recipe.serving, label_files(recipe)
    blocks = [
        f"# Written by `penstock build` from the recipe of {recipe.name}: change the recipe, not this file.",
        f"name: {_quoted(recipe.name)}",
        f"backend: {_quoted(backend.name)}",
        f"max_batch_size: {serving.max_batch_size}",
        *(f"input {_braces(_tensor(spec))}" for spec in recipe.inputs),
        *(f"output {_braces(_tensor(spec) + _label(spec, labels))}" for spec in recipe.outputs),
        f"dynamic_batching {_braces(_batching(recipe))}",
        f"instance_group {_braces([f'count: {serving.instances}', f'kind: {backend.kind}'])}",
        *(f"parameters {_braces(_parameter(key, value))}" for key, value in backend.parameters.items()),
        *(f"model_warmup {_braces(_warmup(recipe, size, sample_dims))}" for size in serving.warmups),
    ]
    text = "\n".join(blocks) + "\n"
    try:
        parse(text)
    except ConfigurationError as error:
        raise BuildFailed(f"the written {CONFIG_FILE} is not valid: {error}") from error
    return text


def parse(text: str) -> Any:
    """Return Triton's ModelConfig.

    Raises:
        ConfigurationError: It does not parse.
    """
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigurationError(f"{CONFIG_FILE}: {error}") from error


def interface_of(config: Any) -> dict[str, str]:
    """Return what clients of a model rely on: each input and output in words."""
    found = {}
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
            labels = " with labels" if getattr(tensor, "label_filename", "") else ""
            found[f"{kind} '{tensor.name}'"] = f"{datatype} {list(tensor.dims)}{labels}"
    return found


def _tensor(spec: Input) -> list[str]:
    return [f"name: {_quoted(spec.name)}", f"data_type: TYPE_{spec.datatype}", f"dims: {_list(spec.dims)}"]


def _label(spec: Output, labels: Mapping[str, str]) -> list[str]:
    return [f"label_filename: {_quoted(labels[spec.name])}"] if spec.name in labels else []


def _batching(recipe: Recipe) -> list[str]:
    serving = recipe.serving
    preferred = serving.preferred_batch_sizes
    policy = [
        "timeout_action: REJECT",
        f"default_timeout_microseconds: {serving.queue.default_timeout_microseconds}",
        # Without these two Triton ignores the deadline that a request brings along.
        "allow_timeout_override: true",
        f"max_queue_size: {serving.queue.max_queue_size}",
    ]
    return [
        *([f"preferred_batch_size: {_list(sorted(set(preferred)))}"] if preferred else []),
        f"max_queue_delay_microseconds: {serving.max_queue_delay_microseconds}",
        f"default_queue_policy {_braces(policy)}",
    ]


def _parameter(key: str, value: int) -> list[str]:
    return [f"key: {_quoted(key)}", f"value {{ string_value: {_quoted(str(value))} }}"]


def _warmup(recipe: Recipe, size: int, sample_dims: Mapping[str, Sequence[int]]) -> list[str]:
    lines = [f"name: {_quoted(f'batch of {size}')}", f"batch_size: {size}"]
    for spec in recipe.inputs:
        dims = [given if dim == -1 else dim for dim, given in zip(spec.dims, sample_dims[spec.name], strict=True)]
        # Zeros are a valid index, a valid mask and a valid pixel; random numbers are not.
        value = [f"data_type: TYPE_{spec.datatype}", f"dims: {_list(dims)}", "zero_data: true"]
        lines.append(f"inputs {_braces([f'key: {_quoted(spec.name)}', f'value {_braces(value)}'])}")
    return lines


def _braces(lines: Sequence[str]) -> str:
    return "{\n" + "\n".join(f"  {line}" for block in lines for line in block.split("\n")) + "\n}"


def _list(numbers: Sequence[int]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def _quoted(text: str) -> str:
    return json.dumps(text)
