"""``penstock build``: checkpoint to verified, published model version."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from enginebuild.recipe.variants import Precision

from services.cli.console import Console
from services.cli.yamlfile import load_yaml
from services.core.errors import BuildRefused, MissingDependency
from services.core.records.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    from enginebuild.candidates import Candidate
    from enginebuild.pipeline import BuildResult

REMEDY = "pip install 'penstock[build]'"


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository to publish in.",
)
@click.option(
    "--precision", type=click.Choice(get_args(Precision)), help="Publish a variant of this precision or nothing."
)
@click.option("--variant", metavar="NAME", help="Publish this variant of the recipe or nothing.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights to use in place of the recipe's.")
@click.option("--sign-key", type=click.Path(path_type=Path), envvar="PENSTOCK_SIGN_KEY", show_envvar=True,
              help="PEM file of an elliptic-curve key to sign the version with.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Also write an HTML report there.")
@click.option("--retrain", is_flag=True, help="Train even where the recipe's checkpoint exists.")
@click.option("--waive-gate", metavar="REASON", help="Publish against the gate; the reason goes into the manifest.")
@click.option("--target", type=click.Choice(["onnxruntime", "tensorrt"]), default="onnxruntime", show_default=True,
              help="Runtime to build for; tensorrt needs a GPU.")  # fmt: skip
@click.pass_obj
def build(console: Console, /, recipe: Path, **options: Any) -> None:
    """Build RECIPE, a YAML file, and publish it as the model's next version.

    Without --precision and --variant all variants of the recipe are tried, and the first in its order that passes the
    gate is published.

    Exit codes: 0 published, 1 refused by the gate or failed, 2 wrong recipe, checkpoint or option, 3 something is
    missing on this machine.
    """
    try:
        from enginebuild import pipeline
        from enginebuild.recipe.recipe import Recipe
    except ImportError as error:
        raise MissingDependency(f"the build stage cannot be imported: {error}", REMEDY) from error
    read = load_yaml(recipe, Recipe)
    order = pipeline.Order(
        repository=options["repository"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=options["target"],
        precision=options["precision"],
        variant=options["variant"],
        checkpoint=options["checkpoint"],
        retrain=options["retrain"],
        waiver=options["waive_gate"],
        sign_key=options["sign_key"],
    )
    with console.progress(f"building {read.name}"):
        result = pipeline.build(read, recipe.parent, order, console.say)
    if options["report"] is not None:
        _write_report(console, options["report"], result)
    _tell(console, result)


def _write_report(console: Console, path: Path, result: BuildResult) -> None:
    try:
        from enginebuild.report.page import render
    except ImportError as error:
        raise MissingDependency(f"the report cannot be drawn: {error}", REMEDY) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result.findings), encoding="utf-8")
    console.say(f"report: {path}")


def _tell(console: Console, result: BuildResult) -> None:
    from enginebuild.report import table

    console.table(result.model, list(table.HEADS), table.rows(result.findings))
    console.result(_document(result))
    refusals = [f"{c.name}: {reason}" for c in result.candidates for reason in c.objections]
    if result.published is None:
        raise BuildRefused(f"the gate refused {result.model}; nothing was published: {'; '.join(refusals)}")
    for refusal in refusals:
        console.say(f"refused {refusal}")
    manifest, path = result.published.manifest, result.published.path
    if manifest.gate.waiver is not None:
        console.warn(f"published against the gate ({'; '.join(refusals)}); reason given: {manifest.gate.waiver}")
    console.say(
        f"published {manifest.model} version {manifest.version} ({manifest.variant}): {path}, see {MANIFEST_FILE}"
    )


def _document(result: BuildResult) -> dict[str, Any]:
    published = result.published
    return {
        "model": result.model,
        "original_bytes": result.findings.original_bytes,
        "candidates": [_candidate(candidate) for candidate in result.candidates],
        "published": published
        and {
            "version": published.manifest.version,
            "variant": published.manifest.variant,
            "precision": published.manifest.precision,
            "waiver": published.manifest.gate.waiver,
            "path": str(published.path),
        },
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    quality = candidate.quality
    return {
        "variant": candidate.name,
        "precision": candidate.variant.precision,
        "passed": not candidate.objections,
        "objections": list(candidate.objections),
        "size_bytes": candidate.size_bytes,
        "metrics": [dataclasses.asdict(entry) for entry in quality.metrics] if quality else [],
        "fidelity": dataclasses.asdict(quality.fidelity) if quality else None,
        "batching": dataclasses.asdict(candidate.batching) if candidate.batching else None,
        "speed": dataclasses.asdict(candidate.speed) if candidate.speed else None,
        "calibration": dataclasses.asdict(made.calibration) if (made := candidate.made) and made.calibration else None,
        "engine": dataclasses.asdict(made.engine) if made and made.engine else None,
        "sensitivity": [dataclasses.asdict(layer) for layer in candidate.sensitivity],
    }
