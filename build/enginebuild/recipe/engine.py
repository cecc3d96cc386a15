"""How TensorRT builds a recipe's engine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from enginebuild.recipe.references import Part, TensorName

# What an INT8 engine computes in where it is not INT8.
Rest = Literal["fp16", "fp32"]


class DimsProfile(Part):
    """Dimensions of one input, without the batch: the least, those that the engine is tuned for, the largest."""

    min: list[int] = Field(min_length=1)
    opt: list[int] = Field(min_length=1)
    max: list[int] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascends(self) -> DimsProfile:
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ValueError(f"min {self.min}, opt {self.opt} and max {self.max} have different lengths")
        if not all(1 <= a <= b <= c for a, b, c in zip(self.min, self.opt, self.max, strict=True)):
            raise ValueError(f"min {self.min}, opt {self.opt}, max {self.max}; expected 1 or more, ascending")
        return self


class Engine(Part):
    """How TensorRT builds the engine; no other target looks at it.

    ``level`` is the builder's optimisation level: more tries more and builds longer. ``workspace_mib`` bounds the GPU
    memory of one layer; without it all that there is. ``hardware_compatible`` makes an engine that also runs on other
    GPUs from Ampere on, ``version_compatible`` one that later versions of TensorRT load; both cost speed. ``builds`` is
    how often the engine is built to see how far builds differ. ``profiles`` bounds inputs with dimensions of any size.
    ``int8_rest`` is what an INT8 engine computes in where it is not INT8; with FP16, operators whose values or weights
    FP16 cannot hold stay in FP32 all the same.
    """

    level: int = Field(3, ge=0, le=5)
    workspace_mib: int | None = Field(None, ge=1, le=1 << 20)
    hardware_compatible: bool = False
    version_compatible: bool = False
    builds: int = Field(2, ge=1, le=10)
    int8_rest: Rest = "fp16"
    profiles: dict[TensorName, DimsProfile] = Field(default_factory=dict)
