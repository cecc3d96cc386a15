"""Tensors as they travel: a name, a datatype, a shape and raw little-endian bytes.

BYTES elements are each preceded by their length as a little-endian uint32, as Triton's binary tensor extension has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is a class

from services.core.errors import InvalidRequest

# Bytes per element; None marks the one datatype whose elements differ in size.
ITEM_SIZE: dict[str, int | None] = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
    "BYTES": None,
}

BF16_EXPONENT = 0x7F80
"""The exponent of a BF16 element as a UINT16: all ones in an infinity and in a NaN."""

# Far above any real tensor and far below where a product of dimensions stops fitting an int64 in Triton.
MAX_ELEMENTS = 1 << 40


_length_at = Struct("<I").unpack_from


@dataclass(slots=True)
class Tensor:
    """One named tensor.

    Attributes:
        name: Tensor name as in the model's configuration.
        datatype: A key of ``ITEM_SIZE``.
        shape: Dimensions, batch first where the model batches.
        data: Elements in row-major order, little-endian.

    With an empty name and datatype it is a raw body, the whole of a request that names nothing: whoever validates it
    takes the rest from the model.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview


def element_count(shape: tuple[int, ...], name: str) -> int:
    """Return the product of the dimensions.

    A dimension of 0 does not excuse the others: whoever computes strides multiplies them without it, and
    ``[0, 1 << 61]`` ends Triton's Python backend for good.

    Raises:
        InvalidRequest: A dimension is negative, or the product of those that are not 0 is beyond ``MAX_ELEMENTS``.
    """
    count = 1
    extent = 1
    for dim in shape:
        if dim < 0:
            raise InvalidRequest(
                f"input '{name}': shape {list(shape)} has a negative dimension; send sizes of 0 or more"
            )
        count *= dim
        extent *= dim or 1
        if extent > MAX_ELEMENTS:
            raise InvalidRequest(
                f"input '{name}': shape {list(shape)} has dimensions for more than {MAX_ELEMENTS} elements; "
                "send fewer elements per request"
            )
    return count


def bytes_element_count(data: bytes | memoryview, name: str, most: int, longest: int) -> int:
    """Walk the length prefixes of a BYTES tensor and return its number of elements, about 0.1 us for each.

    Args:
        data: The tensor's data.
        name: Its name, for messages.
        most: Where to stop: ``most + 1`` is returned when there are more.
        longest: Largest element in bytes.

    Raises:
        InvalidRequest: A length is over ``longest`` or points beyond the end of the data.
    """
    offset, end, count = 0, len(data), 0
    try:
        while offset < end:
            (length,) = _length_at(data, offset)
            if length > longest:
                break
            offset += 4 + length
            count += 1
            if count > most:
                return count
    except StructError as error:
        raise InvalidRequest(
            f"input '{name}': BYTES data ends inside a 4-byte length prefix at byte {offset}"
        ) from error
    if offset > end:
        raise InvalidRequest(
            f"input '{name}': the last BYTES element reaches {offset - end} bytes beyond the {end} bytes that were sent"
        )
    if offset < end:
        beyond = "reaches beyond" if length > end - offset - 4 else "is within"
        raise InvalidRequest(
            f"input '{name}': a BYTES element of {length} bytes at byte {offset} {beyond} the {end} bytes that were "
            f"sent; at most {longest} bytes are taken in one element"
        )
    return count
