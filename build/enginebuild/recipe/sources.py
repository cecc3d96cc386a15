"""Where a recipe's weights, network and data come from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from enginebuild.recipe.references import FactoryRef, FunctionRef, InsidePath, Part
from enginebuild.recipe.registry import MlflowFile

_WARMUP_SAMPLES = 32


class Checkpoint(Part):
    """The trained weights: a file, and the script that trains them where it is missing, or a file in MLflow."""

    file: InsidePath | None = None
    mlflow: MlflowFile | None = None
    trained_by: InsidePath | None = None
    timeout_s: float = Field(3600, gt=0)

    @model_validator(mode="after")
    def _one_of_both(self) -> Checkpoint:
        if (self.file is None) == (self.mlflow is None):
            raise ValueError("expected either file or mlflow")
        if self.mlflow is not None and self.trained_by is not None:
            raise ValueError("trained_by makes a missing file; what comes from mlflow is trained already")
        return self


class Network(Part):
    """The network: a function that makes it, or a file that ``torch.export.save`` wrote, with its weights.

    The function lies in the recipe's folder or in an installed package, and the weights come from ``checkpoint``. An
    exported file is read by PyTorch in a way that can run code: it is trusted as the recipe's own Python is. One in
    ``mlflow`` therefore needs its ``sha256``: whoever may write to the registry must not run code here.
    """

    factory: FactoryRef | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    exported: InsidePath | None = None
    mlflow: MlflowFile | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Network:
        if [self.factory, self.exported, self.mlflow].count(None) != 2:  # noqa: PLR2004 - all but one
            raise ValueError("expected either factory or exported, or mlflow for an exported file in the registry")
        if self.factory is None and self.kwargs:
            raise ValueError("kwargs are the factory's; an exported file takes none")
        if self.mlflow is not None and self.mlflow.sha256 is None:
            raise ValueError("mlflow.sha256 is missing: PyTorch can run code that is in an exported file, so say which")
        return self

    @property
    def source(self) -> str:
        """What it comes from, for a message."""
        return self.mlflow.source if self.mlflow is not None else str(self.factory or self.exported)


class Data(Part):
    """Where the data comes from.

    ``evaluation`` returns (inputs by name, labels): arrays whose first dimension counts the samples; labels are None
    where every metric does without. ``calibration`` returns inputs by name, from the training data.
    ``warmup_samples`` of the evaluation data are published to warm a version with, before it gets traffic: 32 where all
    of that data is published, otherwise none; a sample of zeros takes their place.
    """

    evaluation: FunctionRef
    calibration: FunctionRef | None = None
    publish_evaluation: bool = True
    warmup_samples: int | None = Field(None, ge=0, le=256)

    @property
    def warmup_count(self) -> int:
        """How many samples may be published to warm a version with."""
        if self.warmup_samples is not None:
            return self.warmup_samples
        return _WARMUP_SAMPLES if self.publish_evaluation else 0
