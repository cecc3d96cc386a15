"""One build, from the recipe to the published version: the order of the steps.

machine check -> claim staging -> data -> metrics -> interface check -> checkpoint (trained where missing) -> network
 -> export -> variants, compressed where they say so, judged and timed -> gate -> publish
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enginebuild import registry_file
from enginebuild.candidates import Candidate
from enginebuild.checkpoint import read_checkpoint
from enginebuild.compress.compressor import Compressor
from enginebuild.compress.networks import Networks
from enginebuild.config_pbtxt import label_files, render
from enginebuild.convert.export import export_onnx
from enginebuild.data import Dataset, load_evaluation
from enginebuild.drift import drift_reference
from enginebuild.findings import Findings
from enginebuild.gate import choose
from enginebuild.labels import Labels, read_labels, text_of
from enginebuild.lineage import commit_of, recipe_digest
from enginebuild.measure.judge import Judge
from enginebuild.measure.metric import metrics_of
from enginebuild.network import NamedNetwork, load_exported, load_network
from enginebuild.publish import Published, Release, publish, refuse_interface_change
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import BASELINE, Precision, Variant
from enginebuild.recipecode import RecipeCode
from enginebuild.record import Record
from enginebuild.signing import Signer
from enginebuild.staging import claim
from enginebuild.targets.choice import TargetMaker, TargetName, find_target
from enginebuild.targets.target import Target
from enginebuild.training import ensure_checkpoint
from enginebuild.warmup import warmup_of
from enginebuild.workbench import Workbench
from services.core.errors import BuildFailed, ConfigurationError
from services.core.records.checkpoint_record import CheckpointEntry, RegistryEntry
from services.core.records.manifest import WarmupEntry

EVALUATION_FILE = "evaluation.npz"
_REFERENCE_BATCH = 64

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What the person who builds asked for, beside the recipe.

    Attributes:
        repository: The model repository.
        created: The time now, ISO 8601 in UTC.
        target: The runtime to build for.
        precision: Only variants of this precision; None for all.
        variant: The one variant to publish; None for the recipe's order of preference.
        checkpoint: Weights to use in place of the recipe's.
        retrain: Whether to train even where the recipe's checkpoint exists.
        sign_key: PEM file of the private key to sign with; None leaves the version unsigned.
        waiver: Why to publish against the gate's objections; None to obey it.
        cache: Folder for what is fetched from a registry.
    """

    repository: Path
    created: str
    target: TargetName = "onnxruntime"
    precision: Precision | None = None
    variant: str | None = None
    checkpoint: Path | None = None
    retrain: bool = False
    waiver: str | None = None
    sign_key: Path | None = None
    cache: Path = Path(".penstock/cache")

    def chosen(self, recipe: Recipe) -> list[Variant]:
        """Return the variants of a recipe that were asked for."""
        return [
            variant
            for variant in recipe.variants
            if self.precision in (None, variant.precision) and self.variant in (None, variant.name)
        ]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """How a build ended.

    Attributes:
        model: The model's name.
        candidates: Every variant with its verdict.
        published: What was published; None where the gate refused them all.
        findings: All of it, for a report.
    """

    model: str
    candidates: Sequence[Candidate]
    published: Published | None
    findings: Findings


def build(
    recipe: Recipe,
    folder: Path,
    order: Order,
    say: Say,
    find: Callable[[TargetName], TargetMaker] = find_target,
) -> BuildResult:
    """Build a recipe and publish what passes the gate.

    Args:
        recipe: What to build.
        folder: The recipe's folder, which its paths are relative to.
        order: What was asked for.
        say: Tells a person what is under way.
        find: Finds what the target needs on this machine.

    Raises:
        ConfigurationError: The recipe, its code, its data or the checkpoint is wrong.
        Conflict: The interface differs from what is published under this name.
        BuildFailed: A step could not be done; nothing was published.
        MissingDependency: This machine lacks what the target needs.
    """
    _check(recipe, order)
    target = find(order.target)
    signer = Signer(order.sign_key) if order.sign_key is not None else None
    try:
        with claim(order.repository) as staging, RecipeCode(folder) as code:
            return _Build(recipe, folder, order, say, staging, code, signer, target).run()
    except OSError as error:
        where = error.filename or order.repository
        raise BuildFailed(f"{where}: {error.strerror or error}; nothing was published") from error


def _check(recipe: Recipe, order: Order) -> None:
    names = [variant.name for variant in recipe.variants]
    if order.variant is not None and order.variant not in names:
        raise ConfigurationError(
            f"--variant {order.variant}: the recipe of {recipe.name} has {', '.join(names)}; add it to variants"
        )
    if not order.chosen(recipe):
        raise ConfigurationError(
            f"--precision {order.precision}: the recipe of {recipe.name} has {', '.join(names)}; "
            "add a variant of it, with its bounds"
        )
    if recipe.network.factory is None and (order.checkpoint is not None or order.retrain):
        raise ConfigurationError(f"{recipe.network.source} has its weights in it: leave --checkpoint and --retrain out")
    if order.retrain and recipe.checkpoint is not None and recipe.checkpoint.mlflow is not None:
        raise ConfigurationError("--retrain: the recipe's checkpoint comes from MLflow, and nothing here trains it")
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
    signer: Signer | None
    make_target: TargetMaker

    def run(self) -> BuildResult:
        recipe, order, code = self.recipe, self.order, self.code
        labels = read_labels(recipe, code)
        data = load_evaluation(recipe, code)
        metrics = metrics_of(recipe, code, data)
        baseline = self.staging / f"{BASELINE}.onnx"
        target = self.make_target(recipe, code, baseline, data.inputs, self.say)
        release = self._release(target, data, labels)
        refuse_interface_change(release.folder, release.config, release.labels)

        network, checkpoint = self._network()
        self.say(f"evaluating FP32 PyTorch on {data.samples} held-out samples")
        reference = network.run(data.inputs, _REFERENCE_BATCH)
        self.say("exporting to ONNX")
        export_onnx(network, recipe, data.inputs, baseline)
        original_bytes = baseline.stat().st_size
        networks = self._networks(network, target, data)
        bench = Workbench(
            recipe=recipe,
            target=target,
            target_of=networks.target_of,
            judge=Judge(recipe, data, metrics, reference),
            inputs=data.inputs,
            say=self.say,
        )
        candidates = bench.candidates(order.chosen(recipe))
        chosen = self._choose(candidates)
        findings = Findings(recipe, data, labels, candidates, original_bytes, order.created)
        if chosen is None:
            return BuildResult(recipe.name, candidates, None, findings)
        compression = networks.entry_of(chosen.variant)
        warmup = self._fill(release.content, chosen, target, data)
        record = Record(
            recipe=recipe,
            recipe_sha256=recipe_digest(recipe, code),
            commit=commit_of(self.folder),
            created=order.created,
            chosen=chosen,
            waiver=order.waiver,
            target=target.entry,
            checkpoint=checkpoint,
            compression=compression,
            data=data,
            labels=labels,
            warmup=warmup,
            drift=drift_reference(recipe, data.inputs, reference),
            config=release.config,
            model_file=target.backend.model_file,
        )
        sign = self.signer.sign if self.signer is not None else None
        published = publish(release, record.manifest, self.say, sign)
        return BuildResult(recipe.name, candidates, published, findings)

    def _network(self) -> tuple[NamedNetwork, CheckpointEntry]:
        recipe = self.recipe
        path, registry = self._weights_file()
        self.say(f"loading {path.name}")
        if recipe.checkpoint is None:
            network, weights = load_exported(recipe, path)
        else:
            weights = read_checkpoint(path)
            network = load_network(recipe, self.code, weights)
        return network, CheckpointEntry(weights.file, weights.sha256, network.parameters_count, registry)

    def _weights_file(self) -> tuple[Path, RegistryEntry | None]:
        """Return the file that has the weights, fetched or trained where that is needed, and where it was fetched."""
        order, checkpoint, network = self.order, self.recipe.checkpoint, self.recipe.network
        if order.checkpoint is not None:
            return order.checkpoint, None
        if (wanted := checkpoint.mlflow if checkpoint is not None else network.mlflow) is not None:
            fetched = registry_file.fetch(wanted, order.cache, self.say)
            return fetched.path, fetched.entry
        if checkpoint is None:
            return self.code.path(network.source), None
        seed, retrain = self.recipe.seed, order.retrain
        return ensure_checkpoint(checkpoint, self.code, self.staging, seed=seed, retrain=retrain, say=self.say), None

    def _networks(self, trained: NamedNetwork, target: Target, data: Dataset) -> Networks:
        recipe, code, inputs = self.recipe, self.code, data.inputs
        compressor = Compressor(recipe, code, trained, inputs, self.say)

        def make_target(exported: Path) -> Target:
            return self.make_target(recipe, code, exported, inputs, self.say)

        return Networks(
            recipe=recipe,
            compressor=compressor,
            trained=target,
            make_target=make_target,
            samples=inputs,
            folder=self.staging,
        )

    def _release(self, target: Target, data: Dataset, labels: Labels) -> Release:
        recipe = self.recipe
        names = label_files(recipe)
        return Release(
            repository=self.order.repository,
            model=recipe.name,
            content=self.staging / "version",
            config=render(recipe, target.backend, {name: array.shape[1:] for name, array in data.inputs.items()}),
            labels={names[output]: text_of(classes) for output, classes in labels.items()},
        )

    def _choose(self, candidates: Sequence[Candidate]) -> Candidate | None:
        """Return what to publish; a candidate that could not even be made is never published, waiver or not."""
        made = {candidate.name: candidate for candidate in candidates if candidate.speed is not None}
        name = choose({c.name: c.objections for c in made.values()}, waived=self.order.waiver is not None)
        return made[name] if name else None

    def _fill(self, content: Path, chosen: Candidate, target: Target, data: Dataset) -> WarmupEntry:
        if chosen.made is None:
            raise BuildFailed(f"{chosen.name} could not be made")
        content.mkdir()
        model = content / target.backend.model_file
        chosen.made.path.rename(model)
        if self.recipe.data.publish_evaluation:
            data.save(content / EVALUATION_FILE)
        warmup = warmup_of(self.recipe, data)
        return warmup.save(target.load(model), self.recipe.serving.max_batch_size, content)
