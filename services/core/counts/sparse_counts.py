"""Counts by index of which most are 0 and absent."""

from __future__ import annotations

from collections.abc import Mapping


def combined(left: Mapping[int, int], right: Mapping[int, int], sign: int) -> dict[int, int]:
    """Return ``left + sign * right``, without what becomes 0."""
    result = dict(left)
    for index, count in right.items():
        result[index] = result.get(index, 0) + sign * count
    return {index: count for index, count in result.items() if count}


def grew(earlier: Mapping[int, int], later: Mapping[int, int]) -> bool:
    """Return whether counts can have grown out of earlier ones."""
    return all(count <= later.get(index, 0) for index, count in earlier.items())
