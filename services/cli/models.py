"""``penstock models``: what is published in a model repository, read from the disk alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from services.cli.console import Console
from services.cli.controller_client import ControllerClient, controller_option
from services.core.errors import IntegrityError, NotFound
from services.core.manifest import MANIFEST_FILE, Manifest, MetricEntry
from services.triton.layout import CONFIG, RepositoryLayout
from services.triton.published import faults_of, newest, read_manifest, required_manifest
from services.triton.trust import check_signature

repository_option = click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository to read.",
)


@click.group()
def models() -> None:
    """List, show, verify and prune published models."""


@models.command("list")
@repository_option
@click.pass_obj
def list_models(console: Console, /, repository: Path) -> None:
    """List every published version."""
    layout = RepositoryLayout(repository)
    published = [_summary(layout, model, version) for model in layout.models() for version in layout.versions(model)]
    console.table(
        f"{repository}",
        ["model", "version", "variant", "quality", "size", "built", "gate"],
        [_row(summary) for summary in published],
    )
    console.result(published)


@models.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1), required=False)
@repository_option
@click.pass_obj
def show(console: Console, /, model: str, version: int | None, repository: Path) -> None:
    """Show the manifest of MODEL's VERSION, of the newest one without a number."""
    layout = RepositoryLayout(repository)
    manifest = required_manifest(layout, model, version if version is not None else newest(layout, model))
    console.table(f"{model} version {manifest.version}", ["", ""], _details(manifest))
    console.result(json.loads(manifest.to_json()))


@models.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1))
@click.option("--public-key", type=click.Path(path_type=Path), help="Ask for a signature that this PEM key verifies.")
@repository_option
@click.pass_obj
def verify(console: Console, /, model: str, version: int, public_key: Path | None, repository: Path) -> None:
    """Compute every digest of MODEL's VERSION again and compare it with the manifest, and check its signature.

    Exit codes: 0 as published, 1 changed, not signed, or signed with another key.
    """
    layout = RepositoryLayout(repository)
    manifest = required_manifest(layout, model, version)
    faults = faults_of(layout, manifest)
    if public_key is not None:
        try:
            check_signature(layout.version_directory(model, version), public_key)
        except IntegrityError as error:
            faults.append(error.message)
    console.result({"model": model, "version": version, "verified": not faults, "faults": faults})
    if faults:
        raise IntegrityError(f"{model} version {version} is not what was published: {'; '.join(faults)}")
    signed = f", signed for {public_key}" if public_key is not None else ""
    console.say(f"{model} version {version}: {len(manifest.files)} files and {CONFIG} are as published{signed}")


@models.command()
@click.argument("model")
@click.option("--keep", type=click.IntRange(min=1), default=3, show_default=True, help="Newest versions that stay.")
@click.option("--unserved", is_flag=True, help="No controller serves this repository: nothing is in service.")
@controller_option
@repository_option
@click.pass_obj
def prune(console: Console, /, *, model: str, keep: int, unserved: bool, url: str, repository: Path) -> None:
    """Remove old versions of MODEL; never one that is loaded, routed to or rolled out.

    The controller says what is in service; without an answer nothing is removed.
    """
    from enginebuild import retention

    RepositoryLayout(repository).model_directory(model)
    in_service = frozenset[int] if unserved else lambda: _in_service(url, model)
    gone = retention.prune(repository, model, keep, in_service, console.say)
    left = RepositoryLayout(repository).versions(model)
    console.result({"model": model, "removed": gone, "left": left})
    if not gone:
        console.say(f"{model}: nothing to remove, versions {', '.join(map(str, left)) or 'none'}")


def _in_service(url: str, model: str) -> frozenset[int]:
    """Return the versions that a controller has loaded, routes to, or rolls out."""
    with ControllerClient(url) as controller:
        try:
            found = controller.get(f"/v1/models/{model}")
        except NotFound:
            return frozenset()  # it serves other models
    return frozenset({*found["loaded"], *(found[role] for role in ("stable", "candidate") if found[role] is not None)})


def _summary(layout: RepositoryLayout, model: str, version: int) -> dict[str, Any]:
    try:
        manifest = read_manifest(layout, model, version)
    except IntegrityError as error:  # one damaged version must not hide the others
        return {"model": model, "version": version, "fault": error.message}
    if manifest is None:
        return {"model": model, "version": version, "fault": f"no {MANIFEST_FILE}"}
    whole = json.loads(manifest.to_json())
    keys = ("variant", "precision", "created", "size_bytes", "metrics", "speed", "gate")
    quality = f"{manifest.metrics[0].name} {manifest.metrics[0].text}"
    return {"model": model, "version": version, "quality": quality, **{key: whole[key] for key in keys}}


def _row(summary: dict[str, Any]) -> list[str]:
    name = [summary["model"], str(summary["version"])]
    if "fault" in summary:
        return [*name, "-", "-", "-", "-", summary["fault"]]
    return [
        *name,
        summary["variant"],
        summary["quality"],
        f"{summary['size_bytes'] / 1024:,.0f} KiB",
        summary["created"][:16].replace("T", " "),
        "passed" if summary["gate"]["passed"] else f"waived: {summary['gate']['waiver']}",
    ]


def _details(manifest: Manifest) -> list[tuple[str, str]]:
    speed, target = manifest.speed, manifest.target
    return [
        (
            "variant",
            f"{manifest.variant} ({manifest.precision}) for {target.runtime} {target.version}, {target.device}",
        ),
        ("built", f"{manifest.created}, commit {manifest.commit or 'unknown'}, after version {manifest.parent or '-'}"),
        *((f"input {spec.name}", f"{spec.datatype} {list(spec.dims)}") for spec in manifest.inputs),
        *((f"output {spec.name}", f"{spec.datatype} {list(spec.dims)}") for spec in manifest.outputs),
        *((entry.name, _metric(entry)) for entry in manifest.metrics),
        *([("kept in FP32", ", ".join(kept))] if (kept := _kept(manifest)) else []),
        (
            "latency",
            f"{speed.latency_ms:.3f} ms at batch {speed.batch_size}, {speed.threads} threads, {speed.provider}",
        ),
        ("speed", f"{speed.speedup:.2f} times FP32 ({speed.speedup_low:.2f} to {speed.speedup_high:.2f})"),
        ("gate", _gate(manifest)),
        ("checkpoint", f"{manifest.checkpoint.file} {manifest.checkpoint.sha256}"),
        *((name, f"{entry.size_bytes:,} bytes, {entry.sha256}") for name, entry in manifest.files.items()),
    ]


def _metric(entry: MetricEntry) -> str:
    return (
        f"{entry.text} ({entry.confidence:.0%} interval {entry.show(entry.low)} to {entry.show(entry.high)}, "
        f"{entry.samples} held-out samples); FP32 PyTorch {entry.show(entry.baseline)}"
    )


def _kept(manifest: Manifest) -> tuple[str, ...]:
    return manifest.calibration.kept if manifest.calibration is not None else ()


def _gate(manifest: Manifest) -> str:
    gate = manifest.gate
    return "passed" if gate.passed else f"waived ({gate.waiver}): {'; '.join(gate.reasons)}"
