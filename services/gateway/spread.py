"""Which elements of a large tensor stand for all of it. Pure."""

from __future__ import annotations

import math

# A step near a plain fraction of a picture's side would put all elements on a few lines; this ratio is near none.
_GOLDEN = (1 + math.sqrt(5)) / 2


def spread_step(size: int, most: int) -> int:
    """Return how far apart at most ``most`` of ``size`` elements are to be looked at; 1 where that is all of them.

    The step has no factor in common with ``size``, so none with any dimension: every channel has its share, and every
    row and column, however the tensor is laid out.
    """
    if size <= most:
        return 1
    step = math.ceil(size * _GOLDEN / most)
    while math.gcd(step, size) != 1:
        step += 1
    return step
