"""What one build found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginebuild.candidates import Candidate
from enginebuild.data import Dataset
from enginebuild.labels import Labels
from enginebuild.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Findings:
    """What one build found out.

    Attributes:
        recipe: What was demanded.
        data: The held-out data.
        labels: The classes of each output that has some.
        candidates: Every variant with its verdict.
        original_bytes: Size of the FP32 ONNX model.
        created: When, ISO 8601 in UTC.
    """

    recipe: Recipe
    data: Dataset
    labels: Labels
    candidates: Sequence[Candidate]
    original_bytes: int
    created: str

    @property
    def chosen(self) -> Candidate | None:
        """The first variant without an objection."""
        return next((candidate for candidate in self.candidates if not candidate.objections), None)
