"""Shapes and byte counts are checked before anything is done with them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import InvalidRequest
from services.core.tensor import bytes_element_count, element_count


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_every_well_formed_bytes_tensor_is_counted(items: list[bytes]) -> None:
    data = b"".join(struct.pack("<I", len(item)) + item for item in items)
    assert bytes_element_count(data, "text", 20, 20) == len(items)


def test_counting_stops_where_there_are_too_many_elements() -> None:
    assert bytes_element_count(b"\0" * 4_000_000, "text", 10, 20) == 11


def test_an_element_over_the_limit_is_refused_though_it_is_there() -> None:
    with pytest.raises(InvalidRequest, match="at most 4 bytes"):
        bytes_element_count(struct.pack("<I", 5) + b"12345", "text", 9, 4)


@pytest.mark.parametrize("data", [b"\x01", b"\x05\x00\x00\x00abc", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00\x01\x00"])
def test_a_length_that_points_beyond_the_data_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="text"):
        bytes_element_count(data, "text", 9, 1 << 20)


@pytest.mark.parametrize(
    "shape", [(1 << 33, 1 << 33), (-1, 4), (2**63, 2), (1 << 62, 1 << 62, 0), (0, 1 << 61), (0, 2**64 - 1)]
)
def test_a_shape_whose_product_would_overflow_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match="shape"):
        element_count(shape, "x")


def test_a_scalar_has_one_element_and_an_empty_tensor_none() -> None:
    assert element_count((), "x") == 1
    assert element_count((3, 0, 5), "x") == 0
