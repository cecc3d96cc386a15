"""What answers say about a version: values that are no numbers, the first classes, and distributions of values.

Every floating-point output of every answer is looked at in full, whatever its size: about 1 us for a small tensor and
20 us per million bytes, which is less than moving the bytes costs. Small ones are looked at without NumPy, whose calls
cost more than the work that they do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from services.core.errors import UpstreamFailure
from services.core.inference import InferResponse, ModelSchema, TensorSpec
from services.core.tensor import BF16_EXPONENT, Tensor
from services.gateway.metrics.recorder import AnswerSeries
from services.gateway.row_means import mean_of, means_of

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
_NATIVE: dict[str, Literal["f", "d", "i", "q"]] = (
    {"FP32": "f", "FP64": "d", "INT32": "i", "INT64": "q"} if sys.byteorder == "little" else {}
)
_SMALL_BYTES = 256
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
        elif spec is not None:
            _count_means(tensor, scores, schema, series)
    if not finite:
        series.count_non_finite()


def _observe_small(tensor: Tensor, spec: TensorSpec | None, schema: ModelSchema, series: AnswerSeries) -> bool:
    """Count what a small tensor says, and return whether it is finite."""
    values = memoryview(tensor.data).cast("B").cast(_NATIVE[tensor.datatype]).tolist()
    # One addition each finds a NaN and an infinity; sums of FP64 may overflow without one.
    total = sum(values)
    if not math.isfinite(total) and not all(map(math.isfinite, values)):
        return False
    if not values or spec is None:
        return True
    rows = tensor.shape[0] if schema.max_batch_size else 1
    if rows == 1:
        if spec.labels:
            score = max(values)
            series.count_class(tensor.name, values.index(score), len(values))
            if tensor.datatype in _FLOATS:
                series.confidences.count(tensor.name, score)
        else:
            series.means.count(tensor.name, mean_of(values, total))
        return True
    _count_rows(tensor, values, rows, spec, series)
    return True


def _count_rows(tensor: Tensor, values: Sequence[float], rows: int, spec: TensorSpec, series: AnswerSeries) -> None:
    size = len(values) // rows
    if size == 1 and not spec.labels:
        series.means.count_rows(tensor.name, values)
        return
    table = [values[begin : begin + size] for begin in range(0, len(values), size)]
    if not spec.labels:
        series.means.count_rows(tensor.name, [mean_of(row, sum(row)) for row in table])
        return
    scores = [max(row) for row in table]
    for row, score in zip(table, scores, strict=True):
        series.count_class(tensor.name, row.index(score), size)
    if tensor.datatype in _FLOATS:
        series.confidences.count_rows(tensor.name, scores)


def _scores(tensor: Tensor) -> npt.NDArray[np.floating[Any]] | None:
    dtype = _FLOATS.get(tensor.datatype)
    return None if dtype is None else np.frombuffer(tensor.data, dtype)


def _is_finite(tensor: Tensor, scores: npt.NDArray[np.floating[Any]] | None) -> bool:
    if scores is not None:
        return bool(np.isfinite(scores).all())
    if tensor.datatype == "BF16":
        return bool(((np.frombuffer(tensor.data, "<u2") & BF16_EXPONENT) != BF16_EXPONENT).all())
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
            table = values.reshape(rows, classes)
            for best in table.argmax(axis=1).tolist():
                series.count_class(tensor.name, best, classes)
            if scores is not None:
                series.confidences.count_rows(tensor.name, table.max(axis=1).tolist())
    elif spec.datatype != "BYTES":  # the client asked for classification: "score:index:label", best first
        dims = spec.dims[1 if schema.max_batch_size else 0 :]
        if -1 in dims:
            return  # how many classes there are is not known
        per_row = max(1, tensor.shape[-1])
        found = [_class_of(text, tensor.name) for number, text in enumerate(_elements(tensor)) if number % per_row == 0]
        for _, index in found:
            series.count_class(tensor.name, index, math.prod(dims))
        if spec.datatype in _FLOATS:
            series.confidences.count_rows(tensor.name, [score for score, _ in found if math.isfinite(score)])


def _count_means(
    tensor: Tensor, scores: npt.NDArray[np.floating[Any]] | None, schema: ModelSchema, series: AnswerSeries
) -> None:
    rows = tensor.shape[0] if schema.max_batch_size else 1
    values = _integers(tensor) if scores is None else scores
    if values is not None and values.size:
        series.means.count_rows(tensor.name, means_of(values, rows))


def _integers(tensor: Tensor) -> npt.NDArray[Any] | None:
    dtype = _INTEGERS.get(tensor.datatype)
    return None if dtype is None else np.frombuffer(tensor.data, dtype)


def _class_of(text: bytes, output: str) -> tuple[float, int]:
    """Return score and index of a class."""
    try:
        score, index = text.split(b":", 2)[:2]
        return float(score), int(index)
    except ValueError as error:
        raise UpstreamFailure(f"output '{output}' should be classes as 'score:index:label', found {text!r}") from error


def _elements(tensor: Tensor) -> Iterator[bytes]:
    data, offset = bytes(tensor.data), 0
    while offset < len(data):
        begin = offset + _LENGTH_BYTES
        offset = begin + int.from_bytes(data[offset:begin], "little")
        yield data[begin:offset]
