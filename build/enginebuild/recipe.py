"""The recipe: what to build, from what, and how good it must be.

A recipe is a YAML file. Every path in it is relative to its folder and stays inside it; an unknown key is an error.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from enginebuild.datatypes import Datatype

Precision = Literal["fp32", "int8"]

_FUNCTION = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_]\w*)")


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or not parts.name:
        raise ValueError("expected a path relative to the recipe's folder and inside it")
    return path


def _function(reference: str) -> str:
    match = _FUNCTION.fullmatch(reference)
    if match is None:
        raise ValueError("expected 'file.py:function'")
    _inside(match["file"])
    return reference


InsidePath = Annotated[str, AfterValidator(_inside)]
FunctionRef = Annotated[str, AfterValidator(_function)]
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
TensorName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,99}$")]
Dim = Annotated[int, Field(ge=-1, le=1 << 31)]
Share = Annotated[float, Field(ge=0, le=1)]
BatchSize = Annotated[int, Field(ge=1, le=1 << 16)]


class Part(BaseModel):
    """A part of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Checkpoint(Part):
    """The trained weights, and the script that trains them where the file is missing."""

    file: InsidePath
    trained_by: InsidePath | None = None
    timeout_s: float = Field(3600, gt=0)


class Network(Part):
    """The function that makes the untrained network."""

    factory: FunctionRef
    kwargs: dict[str, Any] = Field(default_factory=dict)


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


class Data(Part):
    """Where the data comes from.

    ``evaluation`` returns (inputs by name, labels): arrays whose first dimension counts the samples. ``calibration``
    returns inputs by name, from the training data. ``correct`` takes (outputs by name, labels) and returns one bool per
    sample; without it a sample is right when the best class of the output with labels is the sample's label.
    """

    evaluation: FunctionRef
    calibration: FunctionRef | None = None
    correct: FunctionRef | None = None
    publish_evaluation: bool = True


def _not_slower() -> dict[Precision, float]:
    return {"int8": 1.0}


class Thresholds(Part):
    """What the gate demands."""

    min_accuracy: Share
    max_accuracy_loss_points: dict[Precision, Annotated[float, Field(ge=0, le=100)]]
    min_speedup: dict[Precision, Annotated[float, Field(ge=0)]] = Field(default_factory=_not_slower)


class Quantization(Part):
    """How INT8 is calibrated; ``reduce_range`` is for CPUs without VNNI, where 8-bit products saturate."""

    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    reduce_range: bool = False


class QueuePolicy(Part):
    """What Triton does with requests that wait: how many may, and for how long before they are refused."""

    max_queue_size: int = Field(256, ge=1, le=1 << 20)
    default_timeout_microseconds: int = Field(1_000_000, ge=1)


class Serving(Part):
    """How Triton runs the model."""

    max_batch_size: BatchSize
    max_queue_delay_microseconds: int = Field(500, ge=0, le=10_000_000)
    preferred_batch_sizes: list[BatchSize] = Field(default_factory=list)
    instances: int = Field(1, ge=1, le=64)
    threads: int = Field(1, ge=1, le=256)
    queue: QueuePolicy = QueuePolicy()
    warmup_batch_sizes: list[BatchSize] | None = None

    @model_validator(mode="after")
    def _batches_fit(self) -> Serving:
        for size in [*self.preferred_batch_sizes, *(self.warmup_batch_sizes or [])]:
            if size > self.max_batch_size:
                raise ValueError(f"batch size {size} is over max_batch_size {self.max_batch_size}")
        return self

    @property
    def measured_batch_size(self) -> int:
        """The batch size at which speed is judged: the largest that Triton aims for."""
        return max(self.preferred_batch_sizes, default=self.max_batch_size)

    @property
    def warmups(self) -> list[int]:
        """The batch sizes that a fresh instance runs before it takes requests."""
        return sorted(set(self.warmup_batch_sizes if self.warmup_batch_sizes is not None else [1, self.max_batch_size]))


class Recipe(Part):
    """What to build, from what, and how good it must be."""

    name: ModelName
    seed: int = Field(0, ge=0, lt=1 << 32)
    checkpoint: Checkpoint
    network: Network
    inputs: list[Input] = Field(min_length=1)
    outputs: list[Output] = Field(min_length=1)
    data: Data
    precisions: list[Precision] = Field(min_length=1, description="In order of preference.")
    thresholds: Thresholds
    quantization: Quantization = Quantization()
    serving: Serving

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        names = [tensor.name for tensor in [*self.inputs, *self.outputs]]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tensor name '{repeated[0]}' is used twice")
        if len(set(self.precisions)) != len(self.precisions):
            raise ValueError("precisions names one twice")
        for precision in self.precisions:
            if precision not in self.thresholds.max_accuracy_loss_points:
                raise ValueError(f"thresholds.max_accuracy_loss_points has no bound for {precision}")
        if "int8" in self.precisions and self.data.calibration is None:
            raise ValueError("int8 needs data.calibration")
        if self.data.correct is None and len(self.class_outputs) != 1:
            raise ValueError(
                f"{len(self.class_outputs)} outputs have labels: what is right is known for exactly one; "
                "give labels to one output, or data.correct"
            )
        return self

    @property
    def class_outputs(self) -> list[Output]:
        """The outputs of class scores."""
        return [output for output in self.outputs if output.labels is not None]


LABELS_KEY = "labels"  # the labels' name in evaluation.npz, beside the inputs under their own names


def split_function(reference: str) -> tuple[str, str]:
    """Return the file and the name of a ``file.py:function``."""
    file, _, name = reference.rpartition(":")
    return file, name
