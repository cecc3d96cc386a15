"""What was built: the record that lies beside every published model version as ``manifest.json``.

It names every file with its digest, where the weights and the data came from, what was measured and why the gate let
the version through. It is written once and read strictly: a manifest that does not fit is a damaged manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.core import record
from services.core.errors import IntegrityError

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"

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
class CheckpointEntry:
    """The trained weights: name of the file, its digest, and how many parameters the network has."""

    file: str
    sha256: str
    parameters: int


@dataclass(frozen=True, slots=True)
class DataEntry:
    """A data set: the recipe's function that gave it, its number of samples and the digest of its arrays."""

    source: str
    samples: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CalibrationEntry:
    """How an INT8 version was calibrated, and on what."""

    method: str
    data: DataEntry


@dataclass(frozen=True, slots=True)
class AccuracyEntry:
    """Accuracy on the held-out data.

    Attributes:
        value: Share of the samples that were right, 0 to 1.
        low: Lower end of the Wilson confidence interval.
        high: Upper end of it.
        confidence: Coverage of the interval, 0 to 1.
        correct: Number of samples that were right.
        samples: Number of samples.
        baseline: Share that the FP32 PyTorch network has right.
        loss_points: How much lower than the baseline, percentage points; negative where it is better.
    """

    value: float
    low: float
    high: float
    confidence: float
    correct: int
    samples: int
    baseline: float
    loss_points: float


@dataclass(frozen=True, slots=True)
class FidelityEntry:
    """How close the outputs are to those of the FP32 PyTorch network, on the held-out data.

    Attributes:
        agreement: Share of the samples with the same best class; None where no output has classes.
        max_abs_diff: Largest difference of an element, by output, over the elements that are finite in both.
        non_finite: Samples with a NaN or an infinity in an output.
        predictions: How often each class came first, by output with classes.
    """

    agreement: float | None
    max_abs_diff: dict[str, float]
    non_finite: int
    predictions: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SpeedEntry:
    """Speed at one batch size, measured in turns with FP32 in the same run.

    Attributes:
        provider: ONNX Runtime execution provider.
        threads: Threads inside one inference.
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
        precision: ``fp32`` or ``int8``.
        target: What runs it: ``onnxruntime``.
        created: When it was built, ISO 8601 in UTC.
        files: Every file of the version's folder except this one, by relative POSIX path.
        config_sha256: Digest of the model's config.pbtxt as this build wrote it.
        recipe_sha256: Digest of the recipe.
        commit: Git commit of the recipe's folder, with ``-dirty`` for changes; None outside git.
        seed: The recipe's seed.
        checkpoint: The trained weights.
        evaluation: The held-out data.
        calibration: How INT8 was calibrated; None for other precisions.
        accuracy: Accuracy on the held-out data.
        fidelity: Closeness to the PyTorch network.
        speed: Speed against FP32.
        size_bytes: Size of the model file.
        gate: The gate's verdict.
        inputs: Inputs in the network's order.
        outputs: Outputs in the network's order.
        libraries: Versions of everything that took part.
    """

    schema_version: int
    model: str
    version: int
    precision: str
    target: str
    created: str
    files: dict[str, FileEntry]
    config_sha256: str
    recipe_sha256: str
    commit: str | None
    seed: int
    checkpoint: CheckpointEntry
    evaluation: DataEntry
    calibration: CalibrationEntry | None
    accuracy: AccuracyEntry
    fidelity: FidelityEntry
    speed: SpeedEntry
    size_bytes: int
    gate: GateEntry
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    libraries: dict[str, str]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version {self.schema_version} found, {SCHEMA_VERSION} expected")
        if self.version < 1:
            raise ValueError(f"version {self.version} found, 1 or more expected")
        if not self.files:
            raise ValueError("names no file")
        for path in self.files:
            # The paths are opened when a version is verified: none may lead out of its folder.
            if path != PurePosixPath(path).as_posix() or path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ValueError(f"file '{path}' does not lie in the version's folder")

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
