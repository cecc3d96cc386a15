"""The warm-up sample of a model's configuration as tensors, to prove with a real inference that a version works. Pure.

Source: ``ModelWarmup`` in Triton's model_config.proto,
https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from services.core.errors import InvalidRequest
from services.core.inference import TensorSpec
from services.core.tensor import ITEM_SIZE, Tensor, element_count

MAX_SAMPLE_BYTES = 4 * 1024 * 1024
_EMPTY_STRING = struct.pack("<I", 0)


def sample_of(config: Mapping[str, Any], inputs: Mapping[str, TensorSpec], max_batch_size: int) -> tuple[Tensor, ...]:
    """Return the smallest warm-up sample as inputs of a batch of one; empty where there is none that can be built.

    A sample from a file cannot: the file is Triton's. One beyond 4 MiB is none, because it is sent again and again.

    Args:
        config: The version's configuration, as Triton's JSON.
        inputs: What the version takes.
        max_batch_size: 0 when the model does not batch.
    """
    samples = [_tensors(warmup, inputs, max_batch_size) for warmup in config.get("model_warmup", ())]
    return min((sample for sample in samples if sample), key=_size, default=())


def _size(sample: tuple[Tensor, ...]) -> int:
    return sum(len(tensor.data) for tensor in sample)


def _tensors(warmup: Mapping[str, Any], inputs: Mapping[str, TensorSpec], max_batch_size: int) -> tuple[Tensor, ...]:
    given = warmup.get("inputs", {})
    required = {name for name, spec in inputs.items() if not spec.optional}
    if not required <= set(given) <= set(inputs):
        return ()
    tensors, left = [], MAX_SAMPLE_BYTES
    for name, value in given.items():
        dims = tuple(int(dim) for dim in value.get("dims", ()))
        tensor = _tensor(inputs[name], (1, *dims) if max_batch_size else dims, value, left)
        if tensor is None:
            return ()
        left -= len(tensor.data)
        tensors.append(tensor)
    return tuple(tensors)


def _tensor(spec: TensorSpec, shape: tuple[int, ...], value: Mapping[str, Any], max_bytes: int) -> Tensor | None:
    try:
        count = element_count(shape, spec.name)
    except InvalidRequest:
        return None
    item_size = ITEM_SIZE.get(spec.datatype, 0)
    if item_size == 0 or count * (item_size or len(_EMPTY_STRING)) > max_bytes:
        return None
    if value.get("zero_data"):
        data = _EMPTY_STRING * count if item_size is None else bytes(item_size * count)
    elif value.get("random_data"):
        data = _random(spec.datatype, count)
    else:
        return None
    return Tensor(spec.name, spec.datatype, shape, data)


def _random(datatype: str, count: int) -> bytes:
    """Return elements that any model can work with: fractions, or integers of 0 and 1; the same ones each time."""
    draw = np.random.default_rng(0)
    if datatype == "BYTES":
        return _EMPTY_STRING * count
    if datatype == "BF16":
        return (draw.random(count, np.float32).view("<u4") >> 16).astype("<u2").tobytes()
    if datatype.startswith("FP"):
        return draw.random(count).astype(f"<f{ITEM_SIZE[datatype]}").tobytes()
    return draw.integers(0, 2, count).astype(f"<i{ITEM_SIZE[datatype]}").tobytes()
