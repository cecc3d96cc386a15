"""Compares the outputs of two answers to one request. Pure; the terms are those of ``services.core.counts.comparison``.

Equal bytes are equal answers, which costs next to nothing, the look whether their values are finite included; anything
else costs about 60 us for small outputs, and 9 ms for each MiB of FP32 that is compared. That is done in slices of
about 0.3 ms, between which the event loop serves clients: in a thread it would hold the interpreter for as long, at
moments that nobody chooses. Of outputs too large for it all is looked at for values that are not finite, which costs
0.15 ms for 3 MiB of FP32 and 0.6 ms of FP16 where there are none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from services.core.inference import ModelSchema, TensorSpec
from services.core.mirror import Mirror
from services.core.tensor import ITEM_SIZE, Tensor
from services.gateway.edge.paced import Slices
from services.gateway.mirroring.result import OutputResult, PairResult
from services.gateway.mirroring.totals import INTEGERS, STORED, Ranking, Totals, are_finite
from services.gateway.spread import spread_step

Array = npt.NDArray[Any]

# Rows of unlabelled vectors of so many elements rank something; longer ones are no scores of classes.
_LEAST_CLASSES, _MOST_CLASSES = 2, 4096
_LENGTH_BYTES = 4
# Elements that are compared, and bytes that are looked at for equality, in one slice.
_SLICE_ELEMENTS = 8 * 1024
_SLICE_BYTES = 256 * 1024
# Elements that are looked at for what is not finite, in one slice.
_SLICE_LOOK = 32 * 1024


class Comparer:
    """Compares answers.

    Args:
        max_bytes: Largest output that is compared as a whole; of a larger one evenly spaced rows are, or where rows are
            long, elements of every row. Whether values are finite is looked at in all of it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def compare(
        self, original: list[Tensor], copy: list[Tensor], schema: ModelSchema, mirror: Mirror
    ) -> Slices[PairResult]:
        """Compare the outputs of an answer and of its copy, slice by slice.

        Args:
            original: The outputs that the client got.
            copy: The outputs of the copy.
            schema: The interface of the version that answered the client.
            mirror: The tolerances.
        """
        others = {tensor.name: tensor for tensor in copy}
        mismatched = len(others) != len(original) or any(tensor.name not in others for tensor in original)
        differing = ranked = False
        agree = True
        results: list[OutputResult] = []
        for tensor in original:
            other = others.get(tensor.name)
            if other is None:
                continue
            if not _comparable(tensor, other):
                mismatched = True
                continue
            result, differs = yield from self._output(tensor, other, schema, mirror)
            results.append(result)
            differing |= differs
            if result.ranked:
                ranked = True
                agree &= result.agree
        return PairResult(differing or mismatched, mismatched, ranked, ranked and agree, tuple(results))

    def _output(
        self, tensor: Tensor, other: Tensor, schema: ModelSchema, mirror: Mirror
    ) -> Slices[tuple[OutputResult, bool]]:
        """Return how one output differs, and whether it counts as different."""
        spec = schema.outputs.get(tensor.name)
        equal = yield from _equal(tensor.data, other.data)
        if tensor.datatype == "BYTES":
            if spec is not None and spec.labels and spec.datatype != "BYTES":
                return _classifications(tensor, other, mirror)
            return OutputResult(tensor.name), not equal
        rows = _rows(tensor, schema)
        ranking = _ranking(tensor, rows, spec)
        if equal:
            is_float = tensor.datatype not in INTEGERS
            zero = 0.0 if is_float else None
            divergence = 0.0 if is_float and ranking.labelled else None
            alike = is_float and (yield from _has_not_finite(tensor))
            same = OutputResult(
                tensor.name,
                ranking.ranked,
                ranking.ranked,
                absolute=0.0,
                relative=0.0,
                cosine=zero,
                divergence=divergence,
                both_non_finite=alike,
            )
            return same, False
        return (yield from self._differences(tensor, other, rows, ranking, mirror))

    def _differences(
        self, tensor: Tensor, other: Tensor, rows: int, ranking: Ranking, mirror: Mirror
    ) -> Slices[tuple[OutputResult, bool]]:
        """Return the same of two numeric outputs whose bytes differ."""
        dtype = STORED[tensor.datatype]
        left, right = (np.frombuffer(one.data, dtype).reshape(rows, -1) for one in (tensor, other))
        part, other_part, ranking = self._sampled(left, right, ranking)
        totals = Totals(tensor.datatype, ranking, mirror)
        if part.size < left.size and tensor.datatype not in INTEGERS:
            yield from _looked_at(totals, left.ravel(), right.ravel())
        return (yield from _compared(totals, tensor.name, part, other_part))

    def _sampled(self, left: Array, right: Array, ranking: Ranking) -> tuple[Array, Array, Ranking]:
        """Return the elements of both sides that are compared, by rows: all of them, or a part of what is too large."""
        rows, size = left.shape
        most = self._max_bytes // left.itemsize
        if left.size <= most:
            return left, right, ranking
        whole = most // size
        if whole and (ranking.ranked or size <= _SLICE_ELEMENTS):
            chosen = np.linspace(0, rows - 1, whole).astype(np.intp)
            return left[chosen], right[chosen], ranking
        step = spread_step(size, max(1, most // rows))
        return left[:, ::step], right[:, ::step], Ranking(ranked=False, labelled=False)


def _equal(left: bytes | memoryview, right: bytes | memoryview) -> Slices[bool]:
    """Return whether two tensors have the same bytes; copies of slices compare faster than views."""
    if len(left) != len(right):
        return False
    for begin in range(0, len(left), _SLICE_BYTES):
        if begin:
            yield
        end = begin + _SLICE_BYTES
        if bytes(left[begin:end]) != bytes(right[begin:end]):
            return False
    return True


def _has_not_finite(tensor: Tensor) -> Slices[bool]:
    """Return whether a floating-point tensor has a NaN or an infinity."""
    elements = np.frombuffer(tensor.data, STORED[tensor.datatype])
    step = _SLICE_BYTES // elements.itemsize
    for begin in range(0, elements.size, step):
        if begin:
            yield
        if not are_finite(elements[begin : begin + step], tensor.datatype):
            return True
    return False


def _looked_at(totals: Totals, left: Array, right: Array) -> Slices[None]:
    """Look for what is not finite in all of two tensors of which a part is compared."""
    for begin in range(0, left.size, _SLICE_LOOK):
        end = begin + _SLICE_LOOK
        totals.look_at(left[begin:end], right[begin:end])
        yield


def _compared(totals: Totals, name: str, left: Array, right: Array) -> Slices[tuple[OutputResult, bool]]:
    """Compare whole rows, several in a slice, or one row after the other in pieces where they are long."""
    rows, size = left.shape
    if size <= _SLICE_ELEMENTS or totals.ranking.ranked:
        step = max(1, _SLICE_ELEMENTS // max(1, size))
        for begin in range(0, rows, step):
            if begin:
                yield
            totals.add_rows(left[begin : begin + step], right[begin : begin + step])
    else:
        for row in range(rows):
            for begin in range(0, size, _SLICE_ELEMENTS):
                end = begin + _SLICE_ELEMENTS
                totals.add_piece(left[row : row + 1, begin:end], right[row : row + 1, begin:end])
                yield
            totals.end_row()
    return totals.result(name)


def _comparable(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same form, and data that fit it."""
    if tensor.datatype != other.datatype or tensor.shape != other.shape:
        return False
    item = ITEM_SIZE.get(tensor.datatype)
    if item is None:
        return tensor.datatype == "BYTES"
    return len(tensor.data) == len(other.data) == item * math.prod(tensor.shape)


def _rows(tensor: Tensor, schema: ModelSchema) -> int:
    return max(1, tensor.shape[0]) if schema.max_batch_size and tensor.shape else 1


def _ranking(tensor: Tensor, rows: int, spec: TensorSpec | None) -> Ranking:
    classes = math.prod(tensor.shape) // rows
    if classes < _LEAST_CLASSES:
        return Ranking(ranked=False, labelled=False)
    if spec is not None and spec.labels:
        return Ranking(ranked=True, labelled=True)
    own = [size for size in tensor.shape[len(tensor.shape) > 1 :] if size != 1]
    is_vector = tensor.datatype not in INTEGERS and len(own) == 1 and classes == own[0]
    return Ranking(is_vector and classes <= _MOST_CLASSES, labelled=False)


def _classifications(tensor: Tensor, other: Tensor, mirror: Mirror) -> tuple[OutputResult, bool]:
    """Compare what a client gets that asked for classes: texts ``score:index:label``, best first in each row."""
    left, right = _classes(tensor), _classes(other)
    if left is None or right is None or len(left) != len(right):
        return OutputResult(tensor.name), tensor.data != other.data
    per_row = max(1, tensor.shape[-1]) if tensor.shape else 1
    firsts = zip(left[::per_row], right[::per_row], strict=True)
    agree = all(one[1] == another[1] for one, another in firsts)
    totals = Totals("FP64", Ranking(ranked=False, labelled=False), mirror)
    totals.add_rows(*(np.array([[score for score, _ in side]], np.float64) for side in (left, right)))
    result, differs = totals.result(tensor.name)
    return result._replace(ranked=True, agree=agree, cosine=None), (differs and mirror.scores) or not agree


def _classes(tensor: Tensor) -> list[tuple[float, int]] | None:
    """Return score and index of each class; None for texts of another form."""
    data, offset, found = bytes(tensor.data), 0, []
    try:
        while offset < len(data):
            begin = offset + _LENGTH_BYTES
            offset = begin + int.from_bytes(data[offset:begin], "little")
            parts = data[begin:offset].split(b":", 2)
            found.append((float(parts[0]), int(parts[1])))
    except (IndexError, ValueError):
        return None
    return found
