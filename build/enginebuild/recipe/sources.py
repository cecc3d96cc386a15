"""Where a recipe's weights, network and data come from."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from enginebuild.recipe.references import FactoryRef, FunctionRef, InsidePath, Part


class Checkpoint(Part):
    """The trained weights, and the script that trains them where the file is missing."""

    file: InsidePath
    trained_by: InsidePath | None = None
    timeout_s: float = Field(3600, gt=0)


class Network(Part):
    """What makes the untrained network: a function in the recipe's folder, or one of an installed package."""

    factory: FactoryRef
    kwargs: dict[str, Any] = Field(default_factory=dict)


class Data(Part):
    """Where the data comes from.

    ``evaluation`` returns (inputs by name, labels): arrays whose first dimension counts the samples; labels are None
    where every metric does without. ``calibration`` returns inputs by name, from the training data.
    """

    evaluation: FunctionRef
    calibration: FunctionRef | None = None
    publish_evaluation: bool = True
