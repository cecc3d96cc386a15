"""What was built: the record that lies beside every published model version as ``manifest.json``.

It names every file with its digest, where the weights and the data came from, what was measured and why the gate let
the version through. It is written once and read strictly: a manifest that does not fit is a damaged manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.core.errors import IntegrityError
from services.core.records import record
from services.core.records.batch_record import BatchEntry
from services.core.records.checkpoint_record import CheckpointEntry
from services.core.records.compression_record import CompressionEntry
from services.core.records.drift_record import DriftReference
from services.core.records.engine_record import EngineEntry

SCHEMA_VERSION = 3
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "model.sig"
ENGINES = "tensorrt"
"""The runtime whose versions are engines."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: SHA-256 in hexadecimal, and its size in bytes."""

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256) or self.size_bytes < 0:
            raise ValueError(f"sha256 '{self.sha256}' of {self.size_bytes} bytes; expected 64 hexadecimal digits")


@dataclass(frozen=True, slots=True)
class DataEntry:
    """A data set: the recipe's function that gave it, its number of samples and the digest of its arrays."""

    source: str
    samples: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CalibrationEntry:
    """How an INT8 version was calibrated, and on what.

    Attributes:
        method: ``minmax``, ``entropy`` or ``percentile``.
        data: The samples that the ranges were taken from.
        quantized: How many operators run in INT8.
        kept: Operators that are not quantised, because the recipe says so or because INT8 missed a bound with them.
        rest: What is computed in where it is not INT8: ``fp32``, or ``fp16`` in an engine.
        beyond_fp16: Operators that stay in FP32 all the same, because FP16 cannot hold their weights or values.
    """

    method: str
    data: DataEntry
    quantized: int
    kept: tuple[str, ...]
    rest: str
    beyond_fp16: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricEntry:
    """One metric on the held-out data, beside that of the FP32 PyTorch network on the same samples.

    Attributes:
        name: Its name in the recipe's rules.
        kind: What it is: ``accuracy``, ``f1``, ``mae`` and so on.
        output: The output that it looks at; None for all.
        better: ``higher`` or ``lower``.
        percent: Whether it is a share, to be shown in percent.
        value: Its value.
        low: Lower end of its two-sided confidence interval.
        high: Upper end of it.
        confidence: Coverage of that interval and of ``loss_high``, 0 to 1.
        method: How the interval and the bound were computed.
        baseline: The value of the FP32 PyTorch network.
        loss: How much worse than the baseline, in the metric's unit; negative where it is better.
        loss_high: Upper end of the one-sided confidence interval of the loss, from samples that both saw.
        samples: Number of samples that were measured.
    """

    name: str
    kind: str
    output: str | None
    better: str
    percent: bool
    value: float
    low: float
    high: float
    confidence: float
    method: str
    baseline: float
    loss: float
    loss_high: float
    samples: int

    @property
    def text(self) -> str:
        """The value as a person reads it."""
        return self.show(self.value)

    def show(self, value: float) -> str:
        """Return a value of this metric as a person reads it."""
        return f"{value:.2%}" if self.percent else f"{value:.4g}"

    def show_loss(self, loss: float) -> str:
        """Return a loss of this metric as a person reads it: shares in points."""
        return f"{100 * loss:.2f} points" if self.percent else f"{loss:.3g}"


@dataclass(frozen=True, slots=True)
class WorstCase:
    """One held-out sample: its row, and its furthest output from FP32 PyTorch's, in shares of that output's largest.

    ``distance`` is None where the output is no number.
    """

    row: int
    distance: float | None


@dataclass(frozen=True, slots=True)
class FidelityEntry:
    """How close the outputs are to those of the FP32 PyTorch network, on the held-out data.

    Attributes:
        agreement: Share of the samples with the same best class; None where no output has classes.
        max_abs_diff: Largest difference of an element, by output, over the elements that are finite in both.
        non_finite: Samples with a NaN or an infinity in an output.
        predictions: How often each class came first, by output with classes.
        worst: The samples that are furthest off, furthest first.
    """

    agreement: float | None
    max_abs_diff: dict[str, float]
    non_finite: int
    predictions: dict[str, tuple[int, ...]]
    worst: tuple[WorstCase, ...]


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One operator of the network, quantised alone: its name and kind, and what that does to the outputs.

    ``error`` is the root mean square difference of the outputs on the calibration data, relative to the outputs' own;
    the most sensitive operators have the largest.
    """

    name: str
    operator: str
    error: float


@dataclass(frozen=True, slots=True)
class SpeedEntry:
    """Speed at one batch size, measured in turns with FP32 in the same run.

    Attributes:
        provider: What computed: an execution provider of ONNX Runtime, or ``TensorRT``.
        threads: Threads inside one inference; a GPU has no use for them.
        batch_size: Samples per inference.
        latency_ms: Median time of one inference.
        items_per_s: Samples per second at that time.
        speedup: Median over the rounds of FP32's time divided by this one's.
        speedup_low: 10th percentile of that ratio.
        speedup_high: 90th percentile of it.
        rounds: Number of rounds.
    """

    provider: str
    threads: int
    batch_size: int
    latency_ms: float
    items_per_s: float
    speedup: float
    speedup_low: float
    speedup_high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class GateEntry:
    """The gate's verdict: whether it passed, why not, and who let it through all the same, with the reason."""

    passed: bool
    reasons: tuple[str, ...]
    waiver: str | None

    def __post_init__(self) -> None:
        if not self.passed and not self.waiver:
            raise ValueError("the gate refused this version and no waiver says why it was published")


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """What a version was built for and measured on.

    Attributes:
        runtime: ``onnxruntime`` or ``tensorrt``.
        version: Version of the runtime; an engine of ``tensorrt`` runs on no other.
        device: Name of the processor.
        compute_capability: Of the GPU, as ``9.0``; None on a CPU.
        profiles: By input, the least, best and largest shapes that an engine takes; empty where any batch will do.
    """

    runtime: str
    version: str
    device: str
    compute_capability: str | None
    profiles: dict[str, tuple[tuple[int, ...], ...]]


@dataclass(frozen=True, slots=True)
class WarmupEntry:
    """What a version is warmed with before it gets traffic.

    Attributes:
        file: A NumPy archive in the version's folder: inputs under ``input/NAME``, and what the version answered to
            them when it was built under ``output/NAME``; the first dimension counts the samples.
        samples: How many.
        real: Whether they are held-out samples; otherwise zeros.
    """

    file: str
    samples: int
    real: bool


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One input or output: dimensions without the batch, -1 for any size, and class labels where there are some."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published model version.

    Attributes:
        schema_version: Version of this record's form.
        model: Model name.
        version: Triton's version number.
        variant: The recipe's name for what was done to the network.
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``int8_dynamic``.
        target: What runs it.
        engine: How it was built, for an engine of TensorRT; None for what ONNX Runtime runs.
        created: When it was built, ISO 8601 in UTC.
        files: Every file of the version's folder except this one, by relative POSIX path.
        config_sha256: Digest of config.pbtxt as this build wrote it, for the model and into the version's own folder.
        recipe_sha256: Digest of the recipe.
        commit: Git commit of the recipe's folder, with ``-dirty`` for changes; None outside git.
        parent: The version before this one; None for the first.
        seed: The recipe's seed.
        checkpoint: The trained weights.
        evaluation: The held-out data.
        compression: What was done to the network before it was converted; None where nothing was.
        calibration: How INT8 was calibrated; None for other precisions.
        metrics: The recipe's metrics on the held-out data, in its order.
        sensitivity: What quantising each operator alone does, worst first; empty where nobody looked.
        fidelity: Closeness to the PyTorch network.
        batching: How far a row's answer depends on the rows in its batch.
        speed: Speed against FP32.
        size_bytes: Size of the model file.
        gate: The gate's verdict.
        inputs: Inputs in the network's order.
        outputs: Outputs in the network's order.
        warmup: Samples to warm it with, and to see whether it gives the same answers as when it was built.
        drift: Distributions to compare live traffic with.
        libraries: Versions of everything that took part.
    """

    schema_version: int
    model: str
    version: int
    variant: str
    precision: str
    target: TargetEntry
    engine: EngineEntry | None
    created: str
    files: dict[str, FileEntry]
    config_sha256: str
    recipe_sha256: str
    commit: str | None
    parent: int | None
    seed: int
    checkpoint: CheckpointEntry
    evaluation: DataEntry
    compression: CompressionEntry | None
    calibration: CalibrationEntry | None
    metrics: tuple[MetricEntry, ...]
    sensitivity: tuple[LayerEntry, ...]
    fidelity: FidelityEntry
    batching: BatchEntry
    speed: SpeedEntry
    size_bytes: int
    gate: GateEntry
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    warmup: WarmupEntry
    drift: DriftReference
    libraries: dict[str, str]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version {self.schema_version} found, {SCHEMA_VERSION} expected")
        if self.version < 1:
            raise ValueError(f"version {self.version} found, 1 or more expected")
        if not self.files:
            raise ValueError("names no file")
        is_engine = self.target.runtime == ENGINES
        if is_engine != (self.engine is not None) or is_engine != (self.target.compute_capability is not None):
            raise ValueError(
                f"target {self.target.runtime}; an engine and a compute capability go with {ENGINES} alone"
            )
        if self.warmup.file not in self.files:
            raise ValueError(f"warm-up samples '{self.warmup.file}' are not among its files")
        if not self.metrics:
            raise ValueError("names no metric: nobody knows how good it is")
        for path in self.files:
            # The paths are opened when a version is verified: none may lead out of its folder.
            if path != PurePosixPath(path).as_posix() or path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ValueError(f"file '{path}' does not lie in the version's folder")

    def tolerance(self, output: str) -> float:
        """Return how far an element of a served answer may be from FP32 PyTorch's, whatever batch its row is in.

        The closeness to PyTorch was measured in batches. From there to the row alone, and from that to another batch,
        it is at most the difference between alone and in a batch, as far as that was measured.
        """
        return self.fidelity.max_abs_diff[output] + 2 * self.batching.max_abs_diff[output]

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return record.to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = MANIFEST_FILE) -> Manifest:
        """Read a manifest; ``source`` names the file in errors.

        Raises:
            IntegrityError: It is not JSON, or a key is unknown, missing, repeated or of the wrong type.
        """
        try:
            return record.from_json(text, cls)
        except ValueError as error:
            raise IntegrityError(
                f"{source}: {error}; it was changed or written by another Penstock: build the version again"
            ) from error
