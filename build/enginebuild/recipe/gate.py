"""What the gate demands of a variant."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from enginebuild.recipe.references import Part, ShortName

Loss = Annotated[float, Field(ge=0)]
# One bound for all variants, or one by variant.
LossBound = Loss | dict[ShortName, Loss]


class MetricRule(Part):
    """The bounds of one metric.

    ``min`` and ``max`` bound its value. ``max_loss`` bounds how much worse than FP32 PyTorch it may be, in the metric's
    own unit (0.005 of an accuracy is half a point), ``max_loss_percent`` the same in percent of FP32 PyTorch's value.
    """

    min: float | None = None
    max: float | None = None
    max_loss: LossBound | None = None
    max_loss_percent: LossBound | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> MetricRule:
        if all(bound is None for bound in (self.min, self.max, self.max_loss, self.max_loss_percent)):
            raise ValueError("bounds nothing; expected min, max, max_loss or max_loss_percent")
        return self

    def loss_bound(self, variant: str) -> float | None:
        """Return the absolute bound on the loss of a variant; None where there is none."""
        return _bound(self.max_loss, variant)

    def percent_bound(self, variant: str) -> float | None:
        """Return the relative bound on the loss of a variant, in percent; None where there is none."""
        return _bound(self.max_loss_percent, variant)


class BatchRule(Part):
    """How far a row's answer may depend on the rows in its batch.

    ``max_difference`` bounds the difference of an element of any output, ``max_changed`` the share of the rows whose
    best class is another one.
    """

    max_difference: float | None = Field(None, ge=0)
    max_changed: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _bounds_something(self) -> BatchRule:
        if self.max_difference is None and self.max_changed is None:
            raise ValueError("bounds nothing; expected max_difference or max_changed")
        return self


class GateRules(Part):
    """What is demanded: bounds by metric, and how much faster than FP32 ONNX a variant must be.

    With ``confidence`` a loss is within its bound when that is shown: the upper end of a one-sided interval of that
    confidence is compared with it. Without, the measured loss itself is. A variant that ``min_speedup`` does not name
    must not be slower than FP32. ``batching`` bounds how far an answer depends on its batch, which ``int8_dynamic``
    lets it do; without it, that is only put on record.
    """

    metrics: dict[ShortName, MetricRule] = Field(min_length=1)
    confidence: float | None = Field(0.95, gt=0.5, lt=1)
    min_speedup: dict[ShortName, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    batching: BatchRule | None = None


def _bound(bound: LossBound | None, variant: str) -> float | None:
    return bound.get(variant) if isinstance(bound, dict) else bound
