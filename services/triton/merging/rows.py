"""Several requests as one, and its answer as theirs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class

from services.core.inference import InferRequest, InferResponse, Merging
from services.core.tensor import ITEM_SIZE, Tensor
from services.triton.faults import Nonsense

# What must be equal in requests that become one: names, datatypes and shapes without rows; wanted outputs.
Signature = tuple[tuple[tuple[str, str, tuple[int, ...]], ...], tuple[tuple[str, int], ...]]

_length_at = Struct("<I").unpack_from
_LENGTH_BYTES = 4
_KEPT_HERE = {"timeout"}


def signature_of(request: InferRequest) -> Signature | None:
    """Return what a request has to have in common with others; None if it must stay by itself.

    What has parameters (a priority, a model's own) or a trace context is treated by Triton by itself. A timeout is not
    among them: the gateway keeps it, for each request.
    """
    if request.traceparent or request.sequence is not None or not request.inputs:
        return None
    if request.parameters and request.parameters.keys() != _KEPT_HERE:
        return None
    wanted = tuple([(output.name, output.classes) for output in request.outputs]) if request.outputs else ()
    return tuple([(tensor.name, tensor.datatype, tensor.shape[1:]) for tensor in request.inputs]), wanted


def joined(requests: Sequence[InferRequest]) -> InferRequest:
    """Return requests of one signature as one, all of them copies or none: their rows one after the other, no ids."""
    first = requests[0]
    rows = sum([request.inputs[0].shape[0] for request in requests])
    inputs = [
        Tensor(
            tensor.name,
            tensor.datatype,
            (rows, *tensor.shape[1:]),
            b"".join([request.inputs[place].data for request in requests]),
        )
        for place, tensor in enumerate(first.inputs)
    ]
    return InferRequest(first.model, inputs=inputs, outputs=first.outputs, is_copy=first.is_copy)


def parted(answer: InferResponse, rows: Sequence[int]) -> list[InferResponse]:
    """Return the answers of requests that were one: their rows of each output, copied.

    Args:
        answer: The answer of the one request.
        rows: How many rows each request had.

    Raises:
        Nonsense: An output has another number of rows than the inputs had.
    """
    total = sum(rows)
    answers = [
        InferResponse(
            answer.model,
            answer.version,
            "",
            [],
            dict(answer.parameters) if answer.parameters else {},
            answer.replica,
            exchange_s=answer.exchange_s,
        )
        for _ in rows
    ]
    for output in answer.outputs:
        shape = output.shape
        if not shape or shape[0] != total:
            raise Nonsense(
                f"output '{output.name}' of model '{answer.model}' has shape {list(shape)} for a batch of {total}; "
                "expected one row for each row of the inputs"
            )
        row_shape, data = shape[1:], output.data
        begin = 0
        for part, count, end in zip(answers, rows, _ends(output, rows, data), strict=True):
            part.outputs.append(Tensor(output.name, output.datatype, (count, *row_shape), bytes(data[begin:end])))
            begin = end
    return answers


def divided(
    sizes: Sequence[tuple[int, int]], merging: Merging, max_requests: int, max_bytes: int, max_rows: int
) -> list[list[int]]:
    """Return which requests become one, in their order; those that stay by themselves are lists of one.

    A model that runs several batches at once gets as many parts, or all but one of its instances would be idle. Where
    the model prefers sizes, exactly those are made.

    Args:
        sizes: Rows and bytes of each request.
        merging: What the version takes.
        max_requests: Most requests in one.
        max_bytes: Most bytes in one.
        max_rows: Most rows in one, beside the version's own bound.
    """
    if merging.sizes:
        return _preferred(sizes, [size for size in merging.sizes if size <= max_rows], max_requests, max_bytes)
    total = sum([rows for rows, _ in sizes])
    fair = min(merging.rows, max_rows, -(-total // merging.instances))
    parts: list[list[int]] = []
    held = room = 0
    for place, (rows, size) in enumerate(sizes):
        if not parts or rows > room or held + size > max_bytes or len(parts[-1]) >= max_requests:
            parts.append([])
            held, room = 0, max(fair, rows)
        parts[-1].append(place)
        held += size
        room -= rows
    return parts


def _preferred(
    sizes: Sequence[tuple[int, int]], wanted: Sequence[int], max_requests: int, max_bytes: int
) -> list[list[int]]:
    parts: list[list[int]] = []
    begin, count = 0, len(sizes)
    while begin < count:
        # The longest run from here whose rows are a preferred number; alone where there is none.
        best, rows, held = begin + 1, 0, 0
        for place in range(begin, min(count, begin + max_requests)):
            rows += sizes[place][0]
            held += sizes[place][1]
            if not wanted or rows > wanted[-1] or held > max_bytes:
                break
            if rows in wanted:
                best = place + 1
        parts.append(list(range(begin, best)))
        begin = best
    return parts


def _ends(output: Tensor, rows: Sequence[int], data: bytes | memoryview) -> list[int]:
    """Return where in an output's data each request's part ends."""
    if ITEM_SIZE[output.datatype] is None:
        return _ends_of_strings(output, rows, data)
    width = len(data) // sum(rows)
    ends, done = [], 0
    for count in rows:
        done += count * width
        ends.append(done)
    return ends


def _ends_of_strings(output: Tensor, rows: Sequence[int], data: bytes | memoryview) -> list[int]:
    per_row = math.prod(output.shape[1:])
    ends, offset = [], 0
    try:
        for count in rows:
            for _ in range(count * per_row):
                offset += _LENGTH_BYTES + _length_at(data, offset)[0]
            ends.append(offset)
    except StructError:
        offset = -1
    if offset != len(data):
        raise Nonsense(f"output '{output.name}' holds other BYTES elements than its shape {list(output.shape)} needs")
    return ends
