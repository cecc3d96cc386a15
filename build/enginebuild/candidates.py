"""The precisions of one network: converted, evaluated, timed against each other, judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enginebuild.data import Dataset, load_calibration
from enginebuild.datatypes import Arrays
from enginebuild.evaluate import Judge, evaluate
from enginebuild.export import export_onnx
from enginebuild.gate import Evidence, objections
from enginebuild.network import NamedNetwork, check_outputs
from enginebuild.quantize import quantize_int8
from enginebuild.recipe import Precision, Recipe
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import PROVIDER, OnnxModel, repeat_to
from enginebuild.speed import Timing, compare
from services.core.errors import BuildFailed
from services.core.manifest import AccuracyEntry, CalibrationEntry, DataEntry, FidelityEntry, SpeedEntry

BASELINE: Precision = "fp32"
_REFERENCE_BATCH = 64


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one precision."""

    accuracy: AccuracyEntry
    fidelity: FidelityEntry
    speed: SpeedEntry


@dataclass(frozen=True, slots=True)
class Candidate:
    """One precision of the network.

    Attributes:
        precision: The precision.
        path: The ONNX file; None where it could not be made.
        calibration: How it was calibrated, for INT8.
        measured: What was measured; None where it could not be made.
        objections: Why it may not be published; empty when it may.
        size_bytes: Size of the ONNX file; None where there is none.
    """

    precision: Precision
    path: Path | None = None
    calibration: CalibrationEntry | None = None
    measured: Measured | None = None
    objections: tuple[str, ...] = ()
    size_bytes: int | None = None


class Workbench:
    """Makes and judges candidates of one network in one folder.

    Args:
        recipe: What is demanded.
        code: The recipe's own code.
        network: The network with its weights.
        data: The held-out data.
        judge: What says which samples are right.
        folder: Where ONNX files are written.
        say: Tells a person what is under way.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        code: RecipeCode,
        network: NamedNetwork,
        data: Dataset,
        judge: Judge,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._recipe, self._code, self._network, self._data, self._judge = recipe, code, network, data, judge
        self._folder, self._say = folder, say

    def candidates(self, precisions: Sequence[Precision]) -> list[Candidate]:
        """Return one candidate per precision, in their order, each with the gate's objections.

        Raises:
            BuildFailed: The network cannot be exported; a precision that cannot be made is a candidate with objections.
        """
        recipe, say = self._recipe, self._say
        say(f"evaluating FP32 PyTorch on {self._data.samples} held-out samples")
        reference = self._network.run(self._data.inputs, _REFERENCE_BATCH)
        say("exporting to ONNX")
        baseline = self._folder / f"{BASELINE}.onnx"
        export_onnx(self._network, recipe, self._data.inputs, baseline)
        made = [self._make(precision, baseline) for precision in precisions]
        models = {BASELINE: OnnxModel(baseline, recipe.serving.threads)}
        models |= {c.precision: OnnxModel(c.path, recipe.serving.threads) for c in made if c.path is not None}
        say(f"timing {', '.join(models)} in turns at batch {recipe.serving.measured_batch_size}")
        timings = self._time(models)
        return [self._judged(c, models[c.precision], reference, timings[c.precision]) if c.path else c for c in made]

    def _make(self, precision: Precision, baseline: Path) -> Candidate:
        if precision == BASELINE:
            return Candidate(precision, baseline)
        data = load_calibration(self._recipe, self._code)
        self._say(f"quantising to {precision.upper()}, calibrated on {data.samples} training samples")
        path = self._folder / f"{precision}.onnx"
        try:
            quantize_int8(baseline, self._recipe, data.inputs, path)
        except BuildFailed as error:
            return Candidate(precision, objections=(error.message,))
        source = DataEntry(data.source, data.samples, data.sha256)
        return Candidate(precision, path, CalibrationEntry(self._recipe.quantization.method, source))

    def _time(self, models: dict[Precision, OnnxModel]) -> dict[Precision, Timing]:
        inputs = repeat_to(self._data.inputs, self._recipe.serving.measured_batch_size)
        timings = compare({name: model.once(inputs) for name, model in models.items()}, BASELINE)
        return {name: timings[name] for name in models}

    def _judged(self, candidate: Candidate, model: OnnxModel, reference: Arrays, timing: Timing) -> Candidate:
        recipe = self._recipe
        outputs = model.run_all(self._data.inputs, recipe.serving.max_batch_size)
        check_outputs(model.path.name, recipe.outputs, outputs, self._data.samples)
        accuracy, fidelity = evaluate(recipe, self._data, self._judge, outputs, reference)
        speed = _speed_entry(timing, recipe)
        evidence = Evidence(candidate.precision, accuracy, fidelity, speed.speedup)
        against = objections(evidence, recipe.thresholds)
        return replace(
            candidate,
            measured=Measured(accuracy, fidelity, speed),
            objections=against,
            size_bytes=model.path.stat().st_size,
        )


def _speed_entry(timing: Timing, recipe: Recipe) -> SpeedEntry:
    size = recipe.serving.measured_batch_size
    return SpeedEntry(
        provider=PROVIDER,
        threads=recipe.serving.threads,
        batch_size=size,
        latency_ms=round(timing.seconds * 1e3, 4),
        items_per_s=round(size / timing.seconds, 1),
        speedup=round(timing.ratio, 3),
        speedup_low=round(timing.ratio_low, 3),
        speedup_high=round(timing.ratio_high, 3),
        rounds=timing.rounds,
    )
