"""The inputs and outputs of a recipe's network."""

from __future__ import annotations

from pydantic import Field, model_validator

from enginebuild.datatypes import Datatype
from enginebuild.recipe.references import Dim, InsidePath, Part, TensorName

LABELS_KEY = "labels"  # the labels' name in evaluation.npz, beside the inputs under their own names


class Input(Part):
    """One input: dimensions without the batch; -1 takes any size."""

    name: TensorName
    datatype: Datatype
    dims: list[Dim] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_empty_dimension(self) -> Input:
        if 0 in self.dims:
            raise ValueError("a dimension is 0; expected sizes of 1 or more, or -1 for any")
        if self.name == LABELS_KEY:
            raise ValueError(f"'{LABELS_KEY}' is taken by the labels of the held-out data; choose another name")
        return self


class Output(Input):
    """One output; ``labels`` names a text file with one class per line, and makes it an output of class scores."""

    labels: InsidePath | None = None

    @model_validator(mode="after")
    def _one_score_per_class(self) -> Output:
        if self.labels is not None and (len(self.dims) != 1 or self.dims[0] < 0):
            raise ValueError("an output with labels has one dimension: the number of classes")
        return self
