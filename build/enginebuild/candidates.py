"""A variant on its way to the gate: what was made, what was measured, what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from enginebuild.datatypes import Arrays
from enginebuild.recipe.variants import Variant
from services.core.records.batch_record import BatchEntry
from services.core.records.engine_record import EngineEntry
from services.core.records.manifest import CalibrationEntry, FidelityEntry, LayerEntry, MetricEntry, SpeedEntry


@dataclass(frozen=True, slots=True)
class Made:
    """A converted network.

    Attributes:
        variant: What it is.
        path: The file that is served: ONNX, or an engine.
        calibration: How it was calibrated, for INT8.
        engine: How it was built and what speaks for it, for an engine.
    """

    variant: Variant
    path: Path
    calibration: CalibrationEntry | None = None
    engine: EngineEntry | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """How good a converted network is.

    Attributes:
        metrics: The recipe's metrics.
        fidelity: Its closeness to FP32 PyTorch.
        objections: What speaks against it, its speed aside.
        outputs: Its outputs on the held-out data.
    """

    metrics: tuple[MetricEntry, ...]
    fidelity: FidelityEntry
    objections: tuple[str, ...]
    outputs: Arrays = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant of the network, as the gate saw it.

    Attributes:
        variant: What it is.
        made: The converted network; None where it could not be made.
        quality: How good it is; None where it could not be made or run.
        batching: How far a row's answer depends on the rows in its batch; None as well.
        speed: How fast it is; None as well.
        objections: Why it may not be published; empty when it may.
        sensitivity: What quantising each operator alone does, worst first; empty where nobody looked.
        size_bytes: Size of the file that is served; None where there is none.
    """

    variant: Variant
    made: Made | None = None
    quality: Quality | None = None
    batching: BatchEntry | None = None
    speed: SpeedEntry | None = None
    objections: tuple[str, ...] = ()
    sensitivity: tuple[LayerEntry, ...] = ()
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variant.name
