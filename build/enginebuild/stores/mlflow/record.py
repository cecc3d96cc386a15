"""A manifest as MLflow shows and searches it: parameters, metrics and tags. Pure."""

from __future__ import annotations

import re

from services.core.records.manifest import Manifest

MODEL_TAG = "penstock.model"
VERSION_TAG = "penstock.version"
MANIFEST_TAG = "penstock.manifest_sha256"
SIGNED_TAG = "penstock.signed"

_KEY = re.compile(r"[^\w\-. :/]")
_LONGEST = 5000  # characters of a value, what every version of MLflow takes


def params_of(manifest: Manifest) -> dict[str, str]:
    """Return what was chosen before anything was measured."""
    target = manifest.target
    return _bounded(
        {
            "variant": manifest.variant,
            "precision": manifest.precision,
            "target": target.runtime,
            "target_version": target.version,
            "device": target.device,
            "compute_capability": target.compute_capability,
            "seed": manifest.seed,
            "parameters": manifest.checkpoint.parameters,
            "speed_batch_size": manifest.speed.batch_size,
            "evaluation_samples": manifest.evaluation.samples,
            **{f"input.{one.name}": f"{one.datatype} {list(one.dims)}" for one in manifest.inputs},
            **{f"output.{one.name}": f"{one.datatype} {list(one.dims)}" for one in manifest.outputs},
        }
    )


def metrics_of(manifest: Manifest) -> dict[str, float]:
    """Return what was measured: each metric with its baseline and its loss, then speed and size."""
    found: dict[str, float] = {}
    for one in manifest.metrics:
        found |= {one.name: one.value, f"{one.name}_baseline": one.baseline, f"{one.name}_loss": one.loss}
        found |= {f"{one.name}_low": one.low, f"{one.name}_high": one.high, f"{one.name}_loss_high": one.loss_high}
    speed = manifest.speed
    found |= {"speedup": speed.speedup, "speedup_low": speed.speedup_low, "speedup_high": speed.speedup_high}
    found |= {"latency_ms": speed.latency_ms, "items_per_s": speed.items_per_s, "size_bytes": manifest.size_bytes}
    return {_KEY.sub("_", name): float(value) for name, value in found.items()}


def tags_of(manifest: Manifest, manifest_sha256: str, *, signed: bool) -> dict[str, str]:
    """Return what tells one version from the others, on the run and on the version of the registered model."""
    source = manifest.checkpoint.registry
    found = {
        MODEL_TAG: manifest.model,
        VERSION_TAG: manifest.version,
        MANIFEST_TAG: manifest_sha256,
        SIGNED_TAG: str(signed).lower(),
        "penstock.variant": manifest.variant,
        "penstock.precision": manifest.precision,
        "penstock.target": manifest.target.runtime,
        "penstock.gate": "passed" if manifest.gate.passed else f"waived: {manifest.gate.waiver}",
        "penstock.created": manifest.created,
        "penstock.parent": manifest.parent,
        "penstock.commit": manifest.commit,
        "penstock.recipe_sha256": manifest.recipe_sha256,
        "penstock.checkpoint_sha256": manifest.checkpoint.sha256,
        "penstock.evaluation_sha256": manifest.evaluation.sha256,
        "penstock.calibration_sha256": manifest.calibration and manifest.calibration.data.sha256,
        "penstock.checkpoint_model": source and f"{source.model}/{source.version}",
        "penstock.checkpoint_run": source and source.run_id,
    }
    return _bounded(found)


def run_tags_of(manifest: Manifest) -> dict[str, str]:
    """Return the tags that MLflow itself knows what to do with."""
    commit = manifest.commit.removesuffix("-dirty") if manifest.commit else None
    return _bounded({"mlflow.source.git.commit": commit, "mlflow.note.content": description_of(manifest)})


def description_of(manifest: Manifest) -> str:
    """Return one version in a sentence or two, for people."""
    speed, target = manifest.speed, manifest.target
    quality = ", ".join(f"{one.name} {one.text} (FP32 PyTorch {one.show(one.baseline)})" for one in manifest.metrics)
    gate = "" if manifest.gate.passed else f" Published against the gate: {manifest.gate.waiver}."
    return (
        f"{manifest.model} version {manifest.version} of Penstock: {manifest.variant} ({manifest.precision}) for "
        f"{target.runtime} {target.version}. {quality}; {speed.speedup:.2f} times FP32 at batch {speed.batch_size}, "
        f"{manifest.size_bytes / 1024:,.0f} KiB.{gate}"
    )


def _bounded(values: dict[str, object]) -> dict[str, str]:
    """Return the values that there are, as texts that MLflow takes."""
    return {_KEY.sub("_", key): str(value)[:_LONGEST] for key, value in values.items() if value is not None}
