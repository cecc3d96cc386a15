"""Which elements stand for a large tensor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.spread import spread_step


@given(st.integers(1, 1 << 26), st.integers(1, 1 << 18))
def test_no_more_elements_than_asked_for_and_no_factor_in_common_with_any_dimension(size: int, most: int) -> None:
    step = spread_step(size, most)
    assert -(-size // step) <= most
    assert math.gcd(step, size) == 1


@pytest.mark.parametrize("shape", [(224, 224, 3), (3, 224, 224), (512, 512, 3), (1024, 1024, 1), (2048, 2048, 1)])
def test_every_quarter_of_every_channel_has_its_share(shape: tuple[int, ...]) -> None:
    size = math.prod(shape)
    step = spread_step(size, 1024)
    chosen = np.zeros(size, np.int64)
    chosen[::step] = 1
    picture = chosen.reshape(shape)
    if shape[0] == 3:
        picture = np.moveaxis(picture, 0, -1)
    height, width, channels = picture.shape
    quarters = picture.reshape(2, height // 2, 2, width // 2, channels).sum(axis=(1, 3))
    fair = chosen.sum() / quarters.size
    assert quarters.min() > 0.5 * fair
    assert quarters.max() < 2 * fair
