"""One build, from the recipe to the published version: the order of the steps.

claim staging -> data -> interface check -> checkpoint (trained where missing) -> network -> candidates -> gate
 -> publish
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginebuild.candidates import Candidate, Workbench
from enginebuild.checkpoint import read_checkpoint
from enginebuild.config_pbtxt import label_files, render
from enginebuild.data import Dataset, load_evaluation
from enginebuild.evaluate import judge_of
from enginebuild.gate import choose
from enginebuild.labels import Labels, read_labels, text_of
from enginebuild.lineage import commit_of, libraries, recipe_digest
from enginebuild.network import NamedNetwork, load_network
from enginebuild.publish import Published, Release, publish, refuse_interface_change, sha256_of_text
from enginebuild.recipe import Input, Precision, Recipe
from enginebuild.recipecode import RecipeCode
from enginebuild.staging import claim
from enginebuild.training import ensure_checkpoint
from services.core.errors import BuildFailed, ConfigurationError
from services.core.manifest import (
    SCHEMA_VERSION,
    CheckpointEntry,
    DataEntry,
    FileEntry,
    GateEntry,
    Manifest,
    TensorEntry,
)

TARGET = "onnxruntime"
MODEL_FILE = "model.onnx"
EVALUATION_FILE = "evaluation.npz"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What the person who builds asked for, beside the recipe.

    Attributes:
        repository: The model repository.
        created: The time now, ISO 8601 in UTC.
        precision: The one precision to publish; None for the recipe's order of preference.
        checkpoint: Weights to use in place of the recipe's.
        retrain: Whether to train even where the recipe's checkpoint exists.
        waiver: Why to publish against the gate's objections; None to obey it.
    """

    repository: Path
    created: str
    precision: Precision | None = None
    checkpoint: Path | None = None
    retrain: bool = False
    waiver: str | None = None


@dataclass(frozen=True, slots=True)
class BuildResult:
    """Every candidate with its verdict, and what was published; None where the gate refused them all."""

    model: str
    candidates: Sequence[Candidate]
    published: Published | None


def build(recipe: Recipe, folder: Path, order: Order, say: Say) -> BuildResult:
    """Build a recipe and publish what passes the gate.

    Args:
        recipe: What to build.
        folder: The recipe's folder, which its paths are relative to.
        order: What was asked for.
        say: Tells a person what is under way.

    Raises:
        ConfigurationError: The recipe, its code, its data or the checkpoint is wrong.
        Conflict: The interface differs from what is published under this name.
        BuildFailed: A step could not be done; nothing was published.
    """
    _check(recipe, order)
    try:
        with claim(order.repository) as staging, RecipeCode(folder) as code:
            return _Build(recipe, folder, order, say, staging, code).run()
    except OSError as error:
        where = error.filename or order.repository
        raise BuildFailed(f"{where}: {error.strerror or error}; nothing was published") from error


def _check(recipe: Recipe, order: Order) -> None:
    if order.precision is not None and order.precision not in recipe.precisions:
        raise ConfigurationError(
            f"--precision {order.precision}: the recipe of {recipe.name} has {', '.join(recipe.precisions)}; "
            "add it to precisions, with its thresholds"
        )
    if order.checkpoint is not None and order.retrain:
        raise ConfigurationError("--checkpoint and --retrain exclude each other: use these weights, or train new ones")
    if order.waiver is not None and not order.waiver.strip():
        raise ConfigurationError("--waive-gate needs a reason; it is written into the manifest")


@dataclass(frozen=True, slots=True)
class _Build:
    """One build while it runs."""

    recipe: Recipe
    folder: Path
    order: Order
    say: Say
    staging: Path
    code: RecipeCode

    def run(self) -> BuildResult:
        recipe, order, code = self.recipe, self.order, self.code
        labels = read_labels(recipe, code)
        judge = judge_of(recipe, code)
        data = load_evaluation(recipe, code)
        release = self._release(data, labels)
        refuse_interface_change(release.folder, release.config, release.labels)

        network, checkpoint = self._network()
        precisions = [order.precision] if order.precision else recipe.precisions
        bench = Workbench(
            recipe=recipe, code=code, network=network, data=data, judge=judge, folder=self.staging, say=self.say
        )
        candidates = bench.candidates(precisions)
        chosen = self._choose(candidates)
        if chosen is None:
            return BuildResult(recipe.name, candidates, None)
        self._fill(release.content, chosen, data)
        # The manifest is made under the model's lock, when the number is known; everything else of it is known here.
        make = self._manifest_maker(chosen, checkpoint, data, labels, release.config)
        return BuildResult(recipe.name, candidates, publish(release, make, self.say))

    def _network(self) -> tuple[NamedNetwork, CheckpointEntry]:
        order = self.order
        path = order.checkpoint or ensure_checkpoint(
            self.recipe, self.code, self.staging, retrain=order.retrain, say=self.say
        )
        self.say(f"loading {path.name}")
        weights = read_checkpoint(path)
        network = load_network(self.recipe, self.code, weights)
        return network, CheckpointEntry(weights.file, weights.sha256, network.parameters_count)

    def _release(self, data: Dataset, labels: Labels) -> Release:
        recipe = self.recipe
        names = label_files(recipe)
        return Release(
            repository=self.order.repository,
            model=recipe.name,
            content=self.staging / "version",
            config=render(recipe, {name: array.shape[1:] for name, array in data.inputs.items()}),
            labels={names[output]: text_of(classes) for output, classes in labels.items()},
        )

    def _choose(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """Return what to publish; a candidate that could not even be made is never published, waiver or not."""
        made = {c.precision: c for c in candidates if c.path is not None}
        precision = choose([(c.precision, c.objections) for c in made.values()], waived=self.order.waiver is not None)
        return made[precision] if precision else None

    def _fill(self, content: Path, chosen: Candidate, data: Dataset) -> None:
        if chosen.path is None:
            raise BuildFailed(f"{chosen.precision} could not be made")
        content.mkdir()
        chosen.path.rename(content / MODEL_FILE)
        if self.recipe.data.publish_evaluation:
            data.save(content / EVALUATION_FILE)

    def _manifest_maker(
        self, chosen: Candidate, checkpoint: CheckpointEntry, data: Dataset, labels: Labels, config: str
    ) -> Callable[[int, dict[str, FileEntry]], Manifest]:
        recipe, measured = self.recipe, chosen.measured
        if measured is None:
            raise BuildFailed(f"{chosen.precision} was not measured")
        passed = not chosen.objections
        evaluation = DataEntry(data.source, data.samples, data.sha256)
        gate = GateEntry(passed, chosen.objections, None if passed else self.order.waiver)
        recipe_sha256, commit = recipe_digest(recipe, self.code), commit_of(self.folder)

        def make(version: int, files: dict[str, FileEntry]) -> Manifest:
            return Manifest(
                schema_version=SCHEMA_VERSION,
                model=recipe.name,
                version=version,
                precision=chosen.precision,
                target=TARGET,
                created=self.order.created,
                files=files,
                config_sha256=sha256_of_text(config),
                recipe_sha256=recipe_sha256,
                commit=commit,
                seed=recipe.seed,
                checkpoint=checkpoint,
                evaluation=evaluation,
                calibration=chosen.calibration,
                accuracy=measured.accuracy,
                fidelity=measured.fidelity,
                speed=measured.speed,
                size_bytes=files[MODEL_FILE].size_bytes,
                gate=gate,
                inputs=tuple(_entry(spec, ()) for spec in recipe.inputs),
                outputs=tuple(_entry(spec, labels.get(spec.name, ())) for spec in recipe.outputs),
                libraries=libraries(),
            )

        return make


def _entry(spec: Input, labels: tuple[str, ...]) -> TensorEntry:
    return TensorEntry(spec.name, spec.datatype, tuple(spec.dims), labels)
