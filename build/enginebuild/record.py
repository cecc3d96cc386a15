"""What the manifest will say of a build: everything but the version's number and the digests of its files."""

from __future__ import annotations

from dataclasses import dataclass

from enginebuild.candidates import Candidate
from enginebuild.data import Dataset
from enginebuild.digests import sha256_of_text
from enginebuild.labels import Labels
from enginebuild.lineage import libraries
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import Input
from services.core.errors import BuildFailed
from services.core.records.checkpoint_record import CheckpointEntry
from services.core.records.compression_record import CompressionEntry
from services.core.records.drift_record import DriftReference
from services.core.records.manifest import (
    SCHEMA_VERSION,
    DataEntry,
    FileEntry,
    GateEntry,
    Manifest,
    TargetEntry,
    TensorEntry,
    WarmupEntry,
)


@dataclass(frozen=True, slots=True)
class Record:
    """One build, as it will be remembered.

    Attributes:
        recipe: What was demanded.
        recipe_sha256: Digest of the recipe and its code.
        commit: Git commit of the recipe's folder; None outside git.
        created: When it was built, ISO 8601 in UTC.
        chosen: The variant that is published.
        waiver: Why it is published against the gate's objections; None where it has none.
        target: What it was built for.
        checkpoint: The trained weights.
        compression: What was done to the network before it was converted; None where nothing was.
        data: The held-out data.
        labels: The classes of each output that has some.
        warmup: The samples to warm it with.
        drift: Distributions to compare live traffic with.
        config: Text of config.pbtxt.
        model_file: The name of the file that is served.
    """

    recipe: Recipe
    recipe_sha256: str
    commit: str | None
    created: str
    chosen: Candidate
    waiver: str | None
    target: TargetEntry
    checkpoint: CheckpointEntry
    compression: CompressionEntry | None
    data: Dataset
    labels: Labels
    warmup: WarmupEntry
    drift: DriftReference
    config: str
    model_file: str

    def manifest(self, version: int, parent: int | None, files: dict[str, FileEntry]) -> Manifest:
        """Return the manifest of a version.

        Raises:
            BuildFailed: The variant was never measured.
        """
        recipe, chosen = self.recipe, self.chosen
        if chosen.made is None or chosen.quality is None or chosen.batching is None or chosen.speed is None:
            raise BuildFailed(f"{chosen.name} was not measured")
        passed = not chosen.objections
        return Manifest(
            schema_version=SCHEMA_VERSION,
            model=recipe.name,
            version=version,
            variant=chosen.name,
            precision=chosen.variant.precision,
            target=self.target,
            engine=chosen.made.engine,
            created=self.created,
            files=files,
            config_sha256=sha256_of_text(self.config),
            recipe_sha256=self.recipe_sha256,
            commit=self.commit,
            parent=parent,
            seed=recipe.seed,
            checkpoint=self.checkpoint,
            evaluation=DataEntry(self.data.source, self.data.samples, self.data.sha256),
            compression=self.compression,
            calibration=chosen.made.calibration,
            metrics=chosen.quality.metrics,
            sensitivity=chosen.sensitivity,
            fidelity=chosen.quality.fidelity,
            batching=chosen.batching,
            speed=chosen.speed,
            size_bytes=files[self.model_file].size_bytes,
            gate=GateEntry(passed, chosen.objections, None if passed else self.waiver),
            inputs=tuple(_entry(spec, ()) for spec in recipe.inputs),
            outputs=tuple(_entry(spec, self.labels.get(spec.name, ())) for spec in recipe.outputs),
            warmup=self.warmup,
            drift=self.drift,
            libraries=libraries(),
        )


def _entry(spec: Input, labels: tuple[str, ...]) -> TensorEntry:
    return TensorEntry(spec.name, spec.datatype, tuple(spec.dims), labels)
