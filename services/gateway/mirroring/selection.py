"""Which requests get a copy: a deterministic fraction of them, evenly spread."""

from __future__ import annotations

from enum import Enum

from services.core.mirror import Mirror

# Multiples of an irrational number modulo 1 fill every interval evenly: of n requests the chosen ones are the share
# that was asked for, give or take a few, and a rhythm of the traffic does not fall in with them. The golden ratio and
# the square root of 2, in units of 2^-32 and odd; two, so that the second choice is independent of the first.
_SPAN = 1 << 32
_GOLDEN = 0x9E3779B1
_ROOT_2 = 0x6A09E667
_WHOLE = 100  # percent


class Kind(Enum):
    """Who gets a copy."""

    MIRROR = "mirror"  # the version that the mirror names
    FLOOR = "floor"  # the version that answered, once more


class Selection:
    """The choices for one model."""

    __slots__ = ("_chosen", "_place")

    def __init__(self) -> None:
        self._place = 0
        self._chosen = 0

    def pick(self, mirror: Mirror) -> Kind | None:
        """Return who gets a copy of the next request; None for nobody."""
        self._place = (self._place + _GOLDEN) % _SPAN
        if self._place * _WHOLE >= mirror.percent * _SPAN:
            return None
        self._chosen = (self._chosen + _ROOT_2) % _SPAN
        return Kind.FLOOR if self._chosen * _WHOLE < mirror.floor_percent * _SPAN else Kind.MIRROR
