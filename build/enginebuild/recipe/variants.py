"""The variants of a network that are built, measured and offered to the gate."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr

from enginebuild.recipe.references import Part, ShortName

Precision = Literal["fp32", "fp16", "bf16", "int8", "int8_dynamic"]
BASELINE: Precision = "fp32"


class Variant(Part):
    """One variant: a name, and the precision that the network is converted to."""

    name: ShortName
    precision: Precision
    _rules: str = PrivateAttr("")

    @property
    def rules(self) -> str:
        """The name that the gate's bounds know it by: a mixed form is held to those of the form that it mends."""
        return self._rules or self.name

    def mixed(self) -> Variant:
        """Return the variant that keeps some operators in FP32."""
        found = Variant(name=f"{self.name[:44]}-mixed", precision=self.precision)
        found._rules = self.rules
        return found

    @property
    def is_baseline(self) -> bool:
        """Whether it is the unchanged network in FP32, which the others are measured against."""
        return self.precision == BASELINE


class Quantization(Part):
    """How INT8 is calibrated.

    ``samples`` takes only so many of the calibration data. ``percentile`` is the share of the values that the range
    keeps. ``reduce_range`` is for CPUs without VNNI, where 8-bit products saturate. ``exclude`` names operators of the
    ONNX graph that stay in FP32 from the start; ``fallback`` looks for such operators where INT8 misses a bound.
    """

    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    samples: int | None = Field(None, ge=1)
    percentile: float = Field(99.99, gt=50, le=100)
    reduce_range: bool = False
    exclude: list[str] = Field(default_factory=list)
    fallback: bool = True
