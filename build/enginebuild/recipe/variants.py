"""The variants of a network that are built, measured and offered to the gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from enginebuild.recipe.compression import Sparsity, Student
from enginebuild.recipe.references import Part, ShortName

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8_dynamic"]
BASELINE: Precision = "fp32"


class Variant(Part):
    """One variant: a name, what is done to the network, and the precision that it is converted to.

    ``student`` replaces the network by a smaller one that learns from it. ``prune`` takes that share of the channels
    out. ``sparsity`` makes two of four weights in a row zero. ``quantization_aware`` lets the fine-tuning feel the
    rounding of INT8. They are done in this order, and the result is fine-tuned once.
    """

    name: ShortName
    precision: Precision
    student: Student | None = None
    prune: float | None = Field(None, gt=0, lt=1)
    sparsity: Sparsity | None = None
    quantization_aware: bool = False
    _rules: str = PrivateAttr("")

    @model_validator(mode="after")
    def _aware_of_what(self) -> Variant:
        if self.quantization_aware and self.precision != "int8":
            raise ValueError(f"quantization_aware is for int8, not for {self.precision}")
        return self

    @property
    def techniques(self) -> tuple[str, ...]:
        """What is done to the network before it is converted, in words."""
        found = [f"distilled into {self.student.factory}"] if self.student is not None else []
        found += [f"{self.prune:.0%} of the channels pruned"] if self.prune is not None else []
        found += [f"{self.sparsity} sparse"] if self.sparsity is not None else []
        found += ["quantisation-aware training"] if self.quantization_aware else []
        return tuple(found)

    @property
    def rules(self) -> str:
        """The name that the gate's bounds know it by: a mixed form is held to those of the form that it mends."""
        return self._rules or self.name

    def mixed(self) -> Variant:
        """Return the variant that keeps some operators out of INT8."""
        found = self.model_copy(update={"name": f"{self.name[:44]}-mixed"})
        found._rules = self.rules  # noqa: SLF001 - its own class's
        return found

    @property
    def is_baseline(self) -> bool:
        """Whether it is the unchanged network in FP32, which the others are measured against."""
        return self.precision == BASELINE and not self.techniques


class Quantization(Part):
    """How INT8 is calibrated.

    ``samples`` takes only so many of the calibration data. ``percentile`` is the share of the values that the range
    keeps. ``reduce_range`` is for CPUs without VNNI, where 8-bit products saturate. ``exclude`` names operators of the
    ONNX graph that are never quantised; ``fallback`` looks for such operators where INT8 misses a bound.
    """

    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    samples: int | None = Field(None, ge=1)
    percentile: float = Field(99.99, gt=50, le=100)
    reduce_range: bool = False
    exclude: list[str] = Field(default_factory=list)
    fallback: bool = True
