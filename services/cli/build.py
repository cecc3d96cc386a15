"""``penstock build``: checkpoint to verified, published model version."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli.console import Console
from services.cli.yamlfile import load_yaml
from services.core.errors import BuildRefused, MissingDependency
from services.core.manifest import MANIFEST_FILE

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
@click.option("--precision", type=click.Choice(["fp32", "int8"]), help="Publish this one or nothing.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights to use in place of the recipe's.")
@click.option("--retrain", is_flag=True, help="Train even where the recipe's checkpoint exists.")
@click.option("--waive-gate", metavar="REASON", help="Publish against the gate; the reason goes into the manifest.")
@click.option("--target", type=click.Choice(["onnxruntime", "tensorrt"]), default="onnxruntime", show_default=True)
@click.pass_obj
def build(console: Console, /, recipe: Path, target: str, **options: Any) -> None:
    """Build RECIPE, a YAML file, and publish it as the model's next version.

    Without --precision the recipe's precisions are tried in its order, and the first that passes the gate is published.

    Exit codes: 0 published, 1 refused by the gate or failed, 2 wrong recipe, checkpoint or option, 3 something is
    missing on this machine.
    """
    if target == "tensorrt":
        raise MissingDependency(
            "this machine has no TensorRT build: --target tensorrt is not available here", "use --target onnxruntime"
        )
    try:
        from enginebuild import pipeline
        from enginebuild.recipe import Recipe
    except ImportError as error:
        raise MissingDependency(f"the build stage cannot be imported: {error}", REMEDY) from error
    read = load_yaml(recipe, Recipe)
    order = pipeline.Order(
        repository=options["repository"],
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        precision=options["precision"],
        checkpoint=options["checkpoint"],
        retrain=options["retrain"],
        waiver=options["waive_gate"],
    )
    with console.progress(f"building {read.name}"):
        result = pipeline.build(read, recipe.parent, order, console.say)
    _report(console, result)


def _report(console: Console, result: BuildResult) -> None:
    console.table(
        result.model,
        ["precision", "accuracy", "loss", "size", "speed-up", "verdict"],
        [_row(candidate) for candidate in result.candidates],
    )
    console.result(_document(result))
    refusals = [f"{c.precision}: {reason}" for c in result.candidates for reason in c.objections]
    if result.published is None:
        raise BuildRefused(f"the gate refused {result.model}; nothing was published: {'; '.join(refusals)}")
    for refusal in refusals:
        console.say(f"refused {refusal}")
    manifest, path = result.published.manifest, result.published.path
    if manifest.gate.waiver is not None:
        console.warn(f"published against the gate ({'; '.join(refusals)}); reason given: {manifest.gate.waiver}")
    console.say(
        f"published {manifest.model} version {manifest.version} ({manifest.precision}): {path}, see {MANIFEST_FILE}"
    )


def _row(candidate: Candidate) -> list[str]:
    verdict = "refused" if candidate.objections else "passed"
    measured = candidate.measured
    if measured is None:
        return [candidate.precision, "-", "-", "-", "-", verdict]
    accuracy, speed = measured.accuracy, measured.speed
    size = candidate.size_bytes or 0
    return [
        candidate.precision,
        f"{accuracy.value:.2%} ({accuracy.low:.1%} to {accuracy.high:.1%})",
        f"{accuracy.loss_points:.2f} points",
        f"{size / 1024:,.0f} KiB",
        f"{speed.speedup:.2f}x",
        verdict,
    ]


def _document(result: BuildResult) -> dict[str, Any]:
    published = result.published
    return {
        "model": result.model,
        "candidates": [
            {
                "precision": candidate.precision,
                "passed": not candidate.objections,
                "objections": list(candidate.objections),
                "size_bytes": candidate.size_bytes,
                **(dataclasses.asdict(candidate.measured) if candidate.measured else {}),
            }
            for candidate in result.candidates
        ],
        "published": published
        and {
            "version": published.manifest.version,
            "precision": published.manifest.precision,
            "waiver": published.manifest.gate.waiver,
            "path": str(published.path),
        },
    }
