"""The population stability index (PSI) of two samples, and how it is usually read.

The sum over groups of (p - q) ln(p / q), the two Kullback-Leibler divergences added up. The reading, little below 0.1
and much from 0.25 on, is credit scoring's rule of thumb (Siddiqi, Credit Risk Scorecards, 2006). It is a description
for a person; no verdict depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_GROUPS = 10
_SOME, _MUCH = 0.1, 0.25
_PRIOR = 0.5  # a count that is added to every group, so that an empty one has a logarithm


def stability_index(stable: Sequence[int], candidate: Sequence[int]) -> float:
    """Return the PSI of counts in the same groups; 0 where there is one group or none."""
    size = len(stable)
    n, m = sum(stable) + _PRIOR * size, sum(candidate) + _PRIOR * size
    total = 0.0
    for one, other in zip(stable, candidate, strict=True):
        q, p = (one + _PRIOR) / n, (other + _PRIOR) / m
        total += (p - q) * math.log(p / q)
    return total


def by_deciles(stable: Mapping[int, int], candidate: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """Return the counts of ordered bins in ten groups, each about a tenth of stable; fewer where bins are as full."""
    rows, below = sum(stable.values()), 0
    groups: dict[int, tuple[int, int]] = {}
    for index in sorted(stable.keys() | candidate.keys()):
        group = min(_GROUPS - 1, _GROUPS * below // max(1, rows))
        theirs, mine = groups.get(group, (0, 0))
        groups[group] = (theirs + stable.get(index, 0), mine + candidate.get(index, 0))
        below += stable.get(index, 0)
    return [theirs for theirs, _ in groups.values()], [mine for _, mine in groups.values()]


def by_chance(groups: int, stable: float, candidate: float) -> float:
    """Return about what two samples of one population show, by their numbers of draws."""
    return (groups - 1) * (1 / max(1.0, stable) + 1 / max(1.0, candidate)) if groups > 1 else 0.0


def in_words(index: float, chance: float) -> str:
    """Return a PSI for a person, read after what chance alone shows is taken off."""
    beyond = index - chance
    reading = "little" if beyond < _SOME else "some" if beyond < _MUCH else "much"
    return f"PSI {index:.3f}, {chance:.3f} by chance: {reading} change"
