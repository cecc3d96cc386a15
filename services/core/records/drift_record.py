"""The part of a manifest that live traffic is compared with: distributions on the held-out data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SketchEntry:
    """The distribution of one quantity on the held-out data: what live traffic is compared with.

    Attributes:
        edges: Boundaries between bins, ascending, without the two ends; a value on a boundary is below it.
        shares: Share of the values in each bin: one more than there are boundaries.
        mean: Mean of the values.
        deviation: Standard deviation of the values.
        count: Number of values.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    mean: float
    deviation: float
    count: int

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError(f"{len(self.shares)} shares between {len(self.edges)} boundaries in ascending order")


@dataclass(frozen=True, slots=True)
class DriftReference:
    """Distributions on the held-out data.

    Attributes:
        inputs: By input, of its elements.
        outputs: By output, of its elements.
        confidence: By output with classes, of the largest softmax share.
    """

    inputs: dict[str, SketchEntry]
    outputs: dict[str, SketchEntry]
    confidence: dict[str, SketchEntry]
