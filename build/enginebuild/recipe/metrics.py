"""What a recipe measures outputs by. ``enginebuild.measure`` says how each of them is computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from enginebuild.recipe.references import FunctionRef, Part, ShortName, TensorName

Better = Literal["higher", "lower"]


class _Metric(Part):
    """What all metrics have: a name of their own where one kind is used twice, and the output that they look at."""

    name: ShortName | None = None
    output: TensorName | None = None

    @property
    def key(self) -> str:
        """Its name in rules, tables and the manifest."""
        return self.name or str(getattr(self, "metric"))  # noqa: B009 - every kind has it, the base does not

    @property
    def needs_labels(self) -> bool:
        """Whether it compares with what is right, not only with what FP32 PyTorch says."""
        return True


class _Decided(_Metric):
    """A metric of decisions: the best class, or with ``threshold`` whether a single score is above it."""

    threshold: float | None = None


class Accuracy(_Decided):
    """Share of the samples whose class is the label."""

    metric: Literal["accuracy"]


class ClassShare(_Decided):
    """Precision, recall or F1 of the class ``positive``; without it the mean over the classes (macro)."""

    metric: Literal["precision", "recall", "f1"]
    positive: int | None = Field(None, ge=0)


class Auc(_Metric):
    """Area under the ROC curve of a single score, or of the score of the class ``positive``, for labels 0 and 1."""

    metric: Literal["auc"]
    positive: int = Field(1, ge=0)


class Error(_Metric):
    """Mean absolute, root mean square or mean absolute percentage error against labels of the output's shape."""

    metric: Literal["mae", "rmse", "mape"]


class Reconstruction(_Metric):
    """Mean square difference between the output and the input that it is to reproduce."""

    metric: Literal["reconstruction_error"]
    input: TensorName | None = None

    @property
    def needs_labels(self) -> bool:
        """It does not."""
        return False


class Distance(_Metric):
    """Sliced Wasserstein distance between the outputs and real samples, which are the labels."""

    metric: Literal["distribution_distance"]


class Closeness(_Metric):
    """Closeness to the FP32 PyTorch network: share of the same best classes, or mean cosine of the outputs."""

    metric: Literal["agreement", "cosine"]

    @property
    def needs_labels(self) -> bool:
        """It does not."""
        return False


class Custom(_Metric):
    """The mean of what the recipe's function gives per sample: ``function(outputs by name, labels)``."""

    metric: Literal["custom"]
    name: ShortName
    function: FunctionRef
    better: Better = "higher"


MetricSpec = Annotated[
    Accuracy | ClassShare | Auc | Error | Reconstruction | Distance | Closeness | Custom, Field(discriminator="metric")
]
