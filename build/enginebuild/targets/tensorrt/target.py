"""TensorRT on this machine's GPU: each variant is an ONNX graph of its precision, and an engine built from that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from enginebuild.candidates import Made
from enginebuild.convert.bf16 import convert_bf16
from enginebuild.convert.export import relative_difference
from enginebuild.convert.fp16 import convert_fp16
from enginebuild.convert.int8 import TENSORRT_SCHEME
from enginebuild.datatypes import Arrays
from enginebuild.digests import sha256_of
from enginebuild.measure.speed import compare
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import BASELINE, Precision, Variant
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import OnnxModel, batch, repeat_to
from enginebuild.targets.calibrated import CalibratedInt8
from enginebuild.targets.target import Backend
from enginebuild.targets.tensorrt.engine import Engine
from enginebuild.targets.tensorrt.engine_builder import EngineBuilder, timing_cache_file
from enginebuild.targets.tensorrt.layers import layers_of
from enginebuild.targets.tensorrt.machine import Machine
from enginebuild.targets.tensorrt.profiles import as_entry, profiles_of
from services.core.errors import BuildFailed
from services.core.records.engine_record import EngineEntry, RebuildEntry
from services.core.records.manifest import CalibrationEntry, LayerEntry, TargetEntry

PROVIDER = "TensorRT"
_COMPARED_SAMPLES = 64
# How far an engine may be from ONNX Runtime on the same graph, in shares of an output's largest value. Sums in another
# order flip a rounding here and there; a wrong operator is off by far more.
AGREEMENT: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1, "int8": 1e-1}


class TensorRtTarget:
    """Makes and runs variants for TensorRT.

    Args:
        machine: The GPU and TensorRT.
        recipe: How.
        code: The recipe's own code, which gives the calibration data.
        exported: Where the FP32 ONNX model will be; graphs and engines are written beside it.
        samples: Inputs that engines are compared on.
        say: Tells a person what is under way.

    Raises:
        ConfigurationError: The recipe leaves a dimension without bounds.
    """

    def __init__(
        self,
        *,
        machine: Machine,
        recipe: Recipe,
        code: RecipeCode,
        exported: Path,
        samples: Arrays,
        say: Callable[[str], None],
    ) -> None:
        self._machine, self._recipe, self._exported, self._say = machine, recipe, exported, say
        self._samples = batch(samples, 0, _COMPARED_SAMPLES)
        self._int8 = CalibratedInt8(
            recipe, code, exported, scheme=TENSORRT_SCHEME, rest=recipe.engine.int8_rest, say=say
        )
        self._builder = EngineBuilder(machine.trt, recipe.engine, machine.log, say)
        self._profiles = profiles_of(recipe)
        gpu = machine.gpu
        self._timing_cache = timing_cache_file(machine.version, gpu.name, gpu.compute_capability)
        self.entry = TargetEntry(
            "tensorrt", machine.version, gpu.name, gpu.compute_capability, as_entry(self._profiles)
        )
        self.provider = PROVIDER
        self.backend = Backend("tensorrt", "model.plan", "KIND_GPU")

    def make(self, variant: Variant, kept: Sequence[str] = ()) -> Made:
        """Make a variant, an INT8 one without some operators.

        Raises:
            BuildFailed: It cannot be made, or this GPU could not run it.
        """
        graph, calibration = self._graph(variant, kept)
        plan = graph.with_suffix(".plan")
        if variant.precision != BASELINE or not plan.is_file():  # FP32 is asked for twice
            plan.write_bytes(self._build(variant, graph, self._timing_cache))
        return Made(variant, plan, calibration)

    def proved(self, made: Made) -> Made:
        """Return an engine with its layers, how far it is from ONNX Runtime and how far a second build is from it.

        Raises:
            BuildFailed: It computes something else than its graph says.
        """
        graph, engine, options = made.path.with_suffix(".onnx"), self.load(made.path), self._recipe.engine
        size = self._recipe.serving.measured_batch_size
        self._say(f"comparing {made.path.name} with ONNX Runtime")
        outputs = engine.run_all(self._samples, self._recipe.serving.max_batch_size)
        compared_with, agreement = self._agreement(made, graph, outputs)
        rebuild = self._rebuild(made, graph, outputs) if options.builds > 1 else None
        inputs = repeat_to(self._samples, size)
        layers = layers_of(engine.information(), engine.layer_times(inputs))
        entry = EngineEntry(
            onnx_sha256=sha256_of(graph),
            level=options.level,
            workspace_mib=options.workspace_mib,
            hardware_compatible=options.hardware_compatible,
            version_compatible=options.version_compatible,
            compared_with=compared_with,
            agreement=agreement,
            rebuild=rebuild,
            layers=layers,
        )
        return replace(made, engine=entry)

    def sensitivity(self) -> tuple[LayerEntry, ...]:
        """Return what quantising each operator alone does to the outputs, worst first."""
        return self._int8.sensitivity()

    def load(self, path: Path) -> Engine:
        """Load an engine.

        Raises:
            BuildFailed: TensorRT cannot load it.
        """
        machine = self._machine
        return Engine(machine.trt, path.read_bytes(), path.name, machine.device, machine.log)

    def _build(self, variant: Variant, graph: Path, timing_cache: Path | None) -> bytes:
        sparse = variant.sparsity is not None
        return self._builder.build(graph, self._profiles, timing_cache, sparse=sparse)

    def _graph(self, variant: Variant, kept: Sequence[str]) -> tuple[Path, CalibrationEntry | None]:
        """Return the ONNX graph whose types are the engine's, and how it was calibrated."""
        path, gpu = self._exported.with_name(f"{variant.name}.onnx"), self._machine.gpu
        match variant.precision:
            case "fp32":
                return self._exported, None
            case "fp16":
                self._say("converting to FP16")
                convert_fp16(self._exported, self._recipe, path)
                return path, None
            case "bf16":
                if not gpu.has_bf16:
                    raise BuildFailed(f"{gpu.name} (compute capability {gpu.compute_capability}) has no BF16")
                self._say("converting to BF16")
                convert_bf16(self._exported, self._recipe, path)
                return path, None
            case "int8_dynamic":
                raise BuildFailed("int8_dynamic is for ONNX Runtime on a CPU; TensorRT takes int8, with calibration")
            case "int8":
                if not gpu.has_int8:
                    raise BuildFailed(f"{gpu.name} (compute capability {gpu.compute_capability}) has no INT8")
                return path, self._int8.write(path, kept)

    def _agreement(self, made: Made, graph: Path, outputs: Arrays) -> tuple[str, dict[str, float]]:
        """Return what an engine was compared with, and how far it is off by output."""
        precision, threads = made.variant.precision, self._recipe.serving.threads
        itself = precision != "bf16"  # for which a CPU has no kernels
        against = OnnxModel(graph if itself else self._exported, threads)
        expected = against.run_all(self._samples, self._recipe.serving.max_batch_size)
        found = {name: relative_difference(want, outputs[name]) for name, want in expected.items()}
        what = "the same graph" if itself else "the FP32 graph"
        for name, off in found.items():
            if off > AGREEMENT[precision]:
                raise BuildFailed(
                    f"the engine of {made.variant.name} is not what {what} computes in ONNX Runtime: output '{name}' "
                    f"is off by {off:.2g} of its largest value, at most {AGREEMENT[precision]:g} was expected"
                )
        return f"{what} in ONNX Runtime, {len(next(iter(self._samples.values())))} samples", found

    def _rebuild(self, made: Made, graph: Path, outputs: Arrays) -> RebuildEntry:
        """Build the same graph again, every layer timed anew, and return how far the engines differ."""
        recipe, machine = self._recipe, self._machine
        plans = [made.path.read_bytes()]
        for number in range(2, recipe.engine.builds + 1):
            self._say(f"building {made.variant.name} again ({number} of {recipe.engine.builds})")
            plans.append(self._build(made.variant, graph, None))
        engines = [Engine(machine.trt, plan, made.path.name, machine.device, machine.log) for plan in plans]
        differences = [0.0]
        for engine in engines[1:]:
            found = engine.run_all(self._samples, recipe.serving.max_batch_size)
            differences += [relative_difference(want, found[name]) for name, want in outputs.items()]
        inputs = repeat_to(self._samples, recipe.serving.measured_batch_size)
        timings = compare({number: engine.once(inputs) for number, engine in enumerate(engines)}, 0)
        latencies = [round(timing.seconds * 1e3, 4) for timing in timings.values()]
        sizes = [len(plan) for plan in plans]
        return RebuildEntry(
            builds=len(plans),
            identical=sum(plan == plans[0] for plan in plans[1:]),
            max_difference=max(differences),
            size_bytes=(min(sizes), max(sizes)),
            latency_ms=(min(latencies), max(latencies)),
        )
