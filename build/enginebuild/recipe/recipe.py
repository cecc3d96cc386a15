"""The recipe: what to build, from what, and how good it must be.

A recipe is a YAML file. Every path in it is relative to its folder and stays inside it; an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import Field, field_validator, model_validator

from enginebuild.recipe.compression import Compression
from enginebuild.recipe.engine import Engine
from enginebuild.recipe.gate import GateRules
from enginebuild.recipe.metrics import Custom, MetricSpec, Reconstruction
from enginebuild.recipe.references import ModelName, Part
from enginebuild.recipe.serving import Serving
from enginebuild.recipe.sources import Checkpoint, Data, Network
from enginebuild.recipe.tensors import Input, Output
from enginebuild.recipe.variants import Quantization, Variant

CALIBRATED = "int8"


class Recipe(Part):
    """What to build, from what, and how good it must be."""

    name: ModelName
    seed: int = Field(0, ge=0, lt=1 << 32)
    checkpoint: Checkpoint | None = None
    network: Network
    inputs: list[Input] = Field(min_length=1)
    outputs: list[Output] = Field(min_length=1)
    data: Data
    metrics: list[MetricSpec] = Field(min_length=1)
    variants: list[Variant] = Field(min_length=1, description="In order of preference; a precision alone names one.")
    gate: GateRules
    quantization: Quantization = Quantization()
    compression: Compression | None = None
    serving: Serving
    engine: Engine = Engine()

    @field_validator("variants", mode="before")
    @classmethod
    def _named_by_precision(cls, found: Any) -> Any:
        if not isinstance(found, list):
            return found
        return [{"name": item, "precision": item} if isinstance(item, str) else item for item in found]

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if (self.checkpoint is None) != (self.network.factory is None):
            raise ValueError("a factory needs a checkpoint, and an exported file has its weights in it")
        _refuse_twice("tensor name", (tensor.name for tensor in [*self.inputs, *self.outputs]))
        _refuse_twice("variant", (variant.name for variant in self.variants))
        _refuse_twice("metric", (metric.key for metric in self.metrics))
        if self.data.calibration is None and any(variant.precision == CALIBRATED for variant in self.variants):
            raise ValueError(f"{CALIBRATED} needs data.calibration")
        if self.compression is None and (changed := [one.name for one in self.variants if one.techniques]):
            raise ValueError(f"variant {changed[0]} changes the network, which needs compression.fine_tune")
        self._metrics_fit()
        self._rules_fit()
        self._profiles_fit()
        return self

    @property
    def class_outputs(self) -> list[Output]:
        """The outputs of class scores."""
        return [output for output in self.outputs if output.labels is not None]

    @property
    def needs_labels(self) -> bool:
        """Whether a metric compares with what is right."""
        return any(metric.needs_labels for metric in self.metrics)

    def output_of(self, metric: MetricSpec) -> Output:
        """Return the output that a metric looks at: the one that it names, or the only one that it can mean."""
        if metric.output is not None:
            return next(output for output in self.outputs if output.name == metric.output)
        return self.class_outputs[0] if len(self.outputs) > 1 else self.outputs[0]

    def _metrics_fit(self) -> None:
        names, inputs = [output.name for output in self.outputs], [tensor.name for tensor in self.inputs]
        for metric in self.metrics:
            if metric.output is not None and metric.output not in names:
                raise ValueError(f"metric {metric.key}: no output '{metric.output}'; there are {', '.join(names)}")
            ambiguous = metric.output is None and len(names) > 1 and len(self.class_outputs) != 1
            if ambiguous and not isinstance(metric, Custom):
                raise ValueError(f"metric {metric.key}: which output? Say output: one of {', '.join(names)}")
            if not isinstance(metric, Reconstruction):
                continue
            if metric.input is None and len(inputs) > 1:
                raise ValueError(f"metric {metric.key}: which input? Say input: one of {', '.join(inputs)}")
            if metric.input is not None and metric.input not in inputs:
                raise ValueError(f"metric {metric.key}: no input '{metric.input}'; there are {', '.join(inputs)}")

    def _profiles_fit(self) -> None:
        inputs = {tensor.name: tensor for tensor in self.inputs}
        for name, profile in self.engine.profiles.items():
            if name not in inputs:
                raise ValueError(f"engine.profiles.{name}: no such input; there are {', '.join(inputs)}")
            dims = inputs[name].dims
            for ends in (profile.min, profile.opt, profile.max):
                if len(ends) != len(dims) or any(dim not in (-1, end) for dim, end in zip(dims, ends, strict=True)):
                    raise ValueError(f"engine.profiles.{name}: {ends} does not fit dims {dims}; leave the batch out")

    def _rules_fit(self) -> None:
        batching = self.gate.batching
        if batching is not None and batching.max_changed is not None and not self.class_outputs:
            raise ValueError("gate.batching.max_changed: no output has classes; bound max_difference")
        metrics, variants = [metric.key for metric in self.metrics], {variant.name for variant in self.variants}
        for name, rule in self.gate.metrics.items():
            if name not in metrics:
                raise ValueError(f"gate.metrics.{name}: no such metric; there are {', '.join(metrics)}")
            for bound in (rule.max_loss, rule.max_loss_percent):
                if not isinstance(bound, dict):
                    continue
                if missing := variants - bound.keys():
                    raise ValueError(f"gate.metrics.{name} has no bound for {', '.join(sorted(missing))}")
                _refuse_unknown(f"gate.metrics.{name}", bound, variants)
        _refuse_unknown("gate.min_speedup", self.gate.min_speedup, variants)


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what} '{name}' is used twice")
        seen.add(name)


def _refuse_unknown(where: str, found: Iterable[str], variants: set[str]) -> None:
    if unknown := sorted(set(found) - variants):
        raise ValueError(f"{where}: '{unknown[0]}' is no variant; there are {', '.join(sorted(variants))}")
