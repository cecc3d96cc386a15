"""What the answers themselves say about a version: values that are no numbers, and which classes come first.

Every floating-point output of every answer is looked at in full, whatever its size: about 1 us for a small tensor and
20 us per million bytes, which is less than moving the bytes costs. Small ones are looked at without NumPy, whose calls
cost more than the work that they do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from services.core.errors import UpstreamFailure
from services.core.inference import InferResponse, ModelSchema, TensorSpec
from services.core.tensor import Tensor
from services.gateway.metrics.recorder import AnswerSeries

_FLOATS: dict[str, npt.DTypeLike] = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_INTEGERS: dict[str, npt.DTypeLike] = {
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
}
# Small tensors of these are read without NumPy, up to where it becomes the faster way.
_NATIVE: dict[str, Literal["f", "d"]] = {"FP32": "f", "FP64": "d"} if sys.byteorder == "little" else {}
_SMALL_BYTES = 256
_BF16_EXPONENT = 0x7F80  # all ones in an infinity and in a NaN
_LENGTH_BYTES = 4


def observe(response: InferResponse, schema: ModelSchema, series: AnswerSeries) -> None:
    """Count one answer.

    Raises:
        UpstreamFailure: An output is not what its header says.
    """
    finite = True
    for tensor in response.outputs:
        spec = schema.outputs.get(tensor.name)
        if len(tensor.data) <= _SMALL_BYTES and tensor.datatype in _NATIVE:
            finite = _observe_small(tensor, spec, schema, series) and finite
            continue
        scores = _scores(tensor)
        if not _is_finite(tensor, scores):
            finite = False
        elif spec is not None and spec.labels:
            _count_classes(tensor, scores, spec, schema, series)
    if not finite:
        series.count_non_finite()


def _observe_small(tensor: Tensor, spec: TensorSpec | None, schema: ModelSchema, series: AnswerSeries) -> bool:
    """Count the best classes of a small tensor, and return whether it is finite."""
    values = memoryview(tensor.data).cast("B").cast(_NATIVE[tensor.datatype]).tolist()
    # One addition each finds a NaN and an infinity; sums of FP64 may overflow without one.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        return False
    if values and spec is not None and spec.labels:
        rows = tensor.shape[0] if schema.max_batch_size else 1
        classes = len(values) // rows
        for begin in range(0, len(values), classes):
            row = values[begin : begin + classes] if rows > 1 else values
            series.count_class(tensor.name, row.index(max(row)), classes)
    return True


def _scores(tensor: Tensor) -> npt.NDArray[np.floating[Any]] | None:
    dtype = _FLOATS.get(tensor.datatype)
    return None if dtype is None else np.frombuffer(tensor.data, dtype)


def _is_finite(tensor: Tensor, scores: npt.NDArray[np.floating[Any]] | None) -> bool:
    if scores is not None:
        return bool(np.isfinite(scores).all())
    if tensor.datatype == "BF16":
        return bool(((np.frombuffer(tensor.data, "<u2") & _BF16_EXPONENT) != _BF16_EXPONENT).all())
    return True


def _count_classes(
    tensor: Tensor,
    scores: npt.NDArray[np.floating[Any]] | None,
    spec: TensorSpec,
    schema: ModelSchema,
    series: AnswerSeries,
) -> None:
    rows = tensor.shape[0] if schema.max_batch_size else 1
    if not rows:
        return
    if tensor.datatype != "BYTES":
        values = _integers(tensor) if scores is None else scores
        if values is not None and values.size:
            classes = values.size // rows
            for best in values.reshape(rows, classes).argmax(axis=1).tolist():
                series.count_class(tensor.name, best, classes)
    elif spec.datatype != "BYTES":  # the client asked for classification: "score:index:label", best first
        dims = spec.dims[1 if schema.max_batch_size else 0 :]
        if -1 in dims:
            return  # how many classes there are is not known
        per_row = max(1, tensor.shape[-1])
        for number, text in enumerate(_elements(tensor)):
            if number % per_row == 0:
                series.count_class(tensor.name, _class_index(text, tensor.name), math.prod(dims))


def _integers(tensor: Tensor) -> npt.NDArray[Any] | None:
    dtype = _INTEGERS.get(tensor.datatype)
    return None if dtype is None else np.frombuffer(tensor.data, dtype)


def _class_index(text: bytes, output: str) -> int:
    try:
        return int(text.split(b":", 2)[1])
    except (IndexError, ValueError) as error:
        raise UpstreamFailure(f"output '{output}' should be classes as 'score:index:label', found {text!r}") from error


def _elements(tensor: Tensor) -> Iterator[bytes]:
    data, offset = bytes(tensor.data), 0
    while offset < len(data):
        begin = offset + _LENGTH_BYTES
        offset = begin + int.from_bytes(data[offset:begin], "little")
        yield data[begin:offset]
