"""``penstock models``: what is published in a model repository, read from the disk alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli.console import Console
from services.cli.controller_client import ControllerClient, controller_option, path_of
from services.cli.finite_float import FiniteRange
from services.core.errors import IntegrityError, MissingDependency, NotFound, UpstreamFailure
from services.core.records.manifest import MANIFEST_FILE, Manifest, MetricEntry
from services.triton.layout import CONFIG, RepositoryLayout
from services.triton.published import faults_of, newest, read_manifest, required_manifest
from services.triton.trust import Trust, check_signature

if TYPE_CHECKING:
    from loadtest.tune.goodput import Window

STORES = "s3://bucket/prefix, gs://, az://, file:///, oci://registry/prefix, or mlflow+https://host"
LOADTEST_REMEDY = "pip install 'penstock[loadtest]'"

repository_option = click.option(
    "--repository",
    type=click.Path(path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository to read.",
)


@click.group()
def models() -> None:
    """List, show, verify, tune, push, pull and prune published models."""


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


@models.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    help=f"{STORES}.",
)
@repository_option
@click.pass_obj
def push(console: Console, /, model: str, version: int | None, url: str, repository: Path) -> None:
    """Copy MODEL's VERSION, by default the newest, to a store or a registry; never over another one.

    An object store then holds a Triton repository. In MLflow it becomes a version of the registered model MODEL, or
    of mlflow+https://host?name=NAME, and &alias=ALIAS then points to it; mlflow: is the server of MLFLOW_TRACKING_URI.
    Credentials come from the environment, as AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID, or MLFLOW_TRACKING_TOKEN, or from
    `docker login`.
    """
    from enginebuild.stores import transfer
    from enginebuild.stores.choice import open_store

    number = version if version is not None else newest(RepositoryLayout(repository), model)
    manifest = transfer.push(open_store(url), repository, model, number, console.say)
    console.result({"model": model, "version": manifest.version, "url": url, "files": len(manifest.files)})


@models.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(min=1), required=False)
@click.option(
    "--from",
    "url",
    required=True,
    metavar="URL",
    help=f"{STORES}.",
)
@click.option("--public-key", type=click.Path(path_type=Path), help="Ask for a signature that this PEM key verifies.")
@repository_option
@click.pass_obj
def pull(
    console: Console, /, *, model: str, version: int | None, url: str, public_key: Path | None, repository: Path
) -> None:
    """Bring MODEL's VERSION, by default the newest, from a store into the repository, under its number.

    From MLflow with ?alias=ALIAS it is the version that the alias points to.
    Every digest is computed again before anybody sees it; with --public-key its signature is checked as well.
    """
    from enginebuild.stores import transfer
    from enginebuild.stores.choice import open_store

    def check(folder: Path) -> None:
        if public_key is not None:
            check_signature(folder, public_key)

    manifest = transfer.pull(open_store(url), repository, model, version, console.say, check=check)
    console.result(
        {"model": model, "version": manifest.version, "path": str(repository / model / str(manifest.version))}
    )


@models.command(context_settings={"max_content_width": 120})
@click.argument("model")
@click.option("--slo", required=True, metavar="QUANTILE=BOUND", help="Such as p99=20ms: what must be kept.")
@click.option("--version", type=click.IntRange(min=1), help="Version to run; default is the newest.")
@click.option("--triton", metavar="HOST:PORT", help="HTTP endpoint of a Triton that runs, gRPC one port higher; "
              "nothing else may use it meanwhile. Default is one that is started for this.")  # fmt: skip
@click.option("--instances", metavar="N,N", help="Instance counts to try; default is 1, 2 .. up to the cores.")
@click.option("--max-batch", metavar="N,N", help="Largest batches to try; default is powers of two up to the model's.")
@click.option("--delay-us", metavar="N,N", help="Queue delays to try, in microseconds; default is 0 .. half the bound.")
@click.option("--preferred", metavar="NAME,NAME", help="Preferred batches to try: none, full, halves (and full).")
@click.option("--rows", type=click.IntRange(min=1), default=1, show_default=True, help="Rows of one request.")
@click.option("--window-s", type=FiniteRange(min=0.5), default=3.0, show_default=True, help="One measurement.")
@click.option("--trials", type=click.IntRange(min=1), help="Most configurations to measure; default is a third of all.")
@click.option("--exhaustive", is_flag=True, help="Measure every configuration, to compare.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the arrivals.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for record and result; default "
              "is .penstock/tune/MODEL. The same question goes on where it was.")  # fmt: skip
@repository_option
@click.pass_obj
def tune(
    console: Console, /, model: str, version: int | None, repository: Path, out: Path | None, **asked: Any
) -> None:
    """Find the instances and the batching with which MODEL carries most requests within an SLO.

    Triton gets open-loop load while one configuration after the other is loaded in it. The result is a config.pbtxt,
    the lines for the recipe's serving section, every number and a plot; nothing in the repository is changed.

    Exit codes: 0 found, 1 no configuration keeps the SLO, 2 wrong question, 3 something is missing on this machine.
    """
    try:
        from loadtest.tune.run import Request
        from loadtest.tune.run import tune as run
    except ImportError as error:
        raise MissingDependency(f"the load generator cannot be imported: {error}", LOADTEST_REMEDY) from error

    layout = RepositoryLayout(repository)
    number = version if version is not None else newest(layout, model)
    # Triton is told to load it directly, past the controller that checks versions.
    Trust(layout).check_files(model, number)
    folder = out if out is not None else Path(".penstock") / "tune" / model
    tuned = run(Request(model=model, version=number, repository=repository, out=folder, **asked), console.say)
    found, confirmed = tuned.outcome.found, tuned.outcome.confirmed
    console.result(tuned.document)
    if found.best is None or confirmed is None or not confirmed.met:
        raise UpstreamFailure(
            f"no configuration of {len(tuned.space)} keeps {asked['slo']}; see {folder / 'evidence.json'}, "
            "ask for less, or build a faster variant"
        )
    rows = [[curve.name, *_reached(curve.windows, confirmed.rate)] for curve in tuned.outcome.curves]
    console.table(f"{model} within {asked['slo']}", ["configuration", "at the best one's rate", "slower"], rows)
    console.say(
        f"{found.best.text}: {confirmed.rate:,.0f} requests/s within {asked['slo']} "
        f"({found.trials} of {len(tuned.space)} configurations measured); see {folder}"
    )


def _reached(windows: Sequence[Window], rate: float) -> list[str]:
    """Return the quantile of the window at a rate, and the share of its requests that were later than the bound."""
    window = min(windows, key=lambda one: abs(one.rate - rate))
    reached = f"{window.quantile_s * 1e3:.1f} ms" if math.isfinite(window.quantile_s) else "no answer"
    return [reached, f"{window.slow / max(1, window.offered):.1%}"]


def _in_service(url: str, model: str) -> frozenset[int]:
    """Return the versions that a controller has loaded, routes to, or rolls out."""
    with ControllerClient(url) as controller:
        try:
            found = controller.get(path_of("models", model))
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
        *_compression(manifest),
        *_calibration(manifest),
        (
            "latency",
            f"{speed.latency_ms:.3f} ms at batch {speed.batch_size}, {speed.threads} threads, {speed.provider}",
        ),
        ("speed", f"{speed.speedup:.2f} times FP32 ({speed.speedup_low:.2f} to {speed.speedup_high:.2f})"),
        ("in a batch", f"a row's answer changes by up to {manifest.batching.text}"),
        ("gate", _gate(manifest)),
        ("checkpoint", f"{manifest.checkpoint.file} {manifest.checkpoint.sha256}{_registry(manifest)}"),
        *((name, f"{entry.size_bytes:,} bytes, {entry.sha256}") for name, entry in manifest.files.items()),
    ]


def _metric(entry: MetricEntry) -> str:
    return (
        f"{entry.text} ({entry.confidence:.0%} interval {entry.show(entry.low)} to {entry.show(entry.high)}, "
        f"{entry.samples} held-out samples); FP32 PyTorch {entry.show(entry.baseline)}"
    )


def _compression(manifest: Manifest) -> list[tuple[str, str]]:
    if (entry := manifest.compression) is None:
        return []
    lines = [("network", f"{', '.join(entry.techniques)}; {entry.parameters:,} parameters")]
    if (again := entry.rebuild) is not None:
        same = f"{again.identical} of {again.builds - 1} the same byte for byte"
        apart = "other shapes" if again.max_difference is None else f"up to {again.max_difference:.2g} apart"
        lines.append(("made again", f"{same}; {', '.join(again.differing)} {apart}" if again.differing else same))
    return lines


def _calibration(manifest: Manifest) -> list[tuple[str, str]]:
    if (entry := manifest.calibration) is None:
        return []
    lines = [("outside INT8", entry.rest), ("not quantised", ", ".join(entry.kept))]
    return [(name, words) for name, words in [*lines, ("beyond FP16, in FP32", ", ".join(entry.beyond_fp16))] if words]


def _registry(manifest: Manifest) -> str:
    source = manifest.checkpoint.registry
    return f" of '{source.model}' version {source.version} at {source.server}" if source is not None else ""


def _gate(manifest: Manifest) -> str:
    gate = manifest.gate
    return "passed" if gate.passed else f"waived ({gate.waiver}): {'; '.join(gate.reasons)}"
