"""A release without a build: a few bytes, a manifest and a config, to publish again and again.

    python -m tests.fakes.releases REPOSITORY [COUNT] [KILLED_AT] [--file-limit BYTES] [--sign-key FILE]

publishes that many versions of the model ``sums``, and kills itself with SIGKILL when ``publish`` says its line number
KILLED_AT, counted from 1 over all versions.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from enginebuild.digests import sha256_of_text
from enginebuild.publish import ManifestMaker, Release, publish
from enginebuild.signing import Signer
from enginebuild.staging import claim

from services.core.records.batch_record import BatchEntry
from services.core.records.checkpoint_record import CheckpointEntry
from services.core.records.drift_record import DriftReference
from services.core.records.manifest import (
    SCHEMA_VERSION,
    DataEntry,
    FidelityEntry,
    FileEntry,
    GateEntry,
    Manifest,
    MetricEntry,
    SpeedEntry,
    TargetEntry,
    TensorEntry,
    WarmupEntry,
)
from tests.fakes import tiny_recipe

ACCURACY = MetricEntry(
    name="accuracy",
    kind="accuracy",
    output="scores",
    better="higher",
    percent=True,
    value=1.0,
    low=0.94,
    high=1.0,
    confidence=0.95,
    method="wilson, tango",
    baseline=1.0,
    loss=0.0,
    loss_high=0.04,
    samples=64,
)
_DIGEST = "0" * 64


def release(repository: Path, staging: Path, content: bytes, config: str, labels: Mapping[str, str]) -> Release:
    """Stage a version of the model ``sums`` whose model file has the given content."""
    folder = staging / "version"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    np.savez(folder / "warmup.npz", **{"input/left": np.zeros((1, 4)), "output/scores": np.zeros((1, 2))})
    return Release(repository, "sums", folder, config, labels)


def manifest_of(config: str) -> ManifestMaker:
    """Return what makes the manifest of such a version."""

    def make(version: int, parent: int | None, files: dict[str, FileEntry]) -> Manifest:
        return Manifest(
            schema_version=SCHEMA_VERSION,
            model="sums",
            version=version,
            variant="fp32",
            precision="fp32",
            target=TargetEntry("onnxruntime", "1.0", "a CPU", None, {}),
            engine=None,
            created="2026-11-20T10:00:00+00:00",
            files=files,
            config_sha256=sha256_of_text(config),
            recipe_sha256=_DIGEST,
            commit=None,
            parent=parent,
            seed=0,
            checkpoint=CheckpointEntry("checkpoint.safetensors", _DIGEST, 16, None),
            evaluation=DataEntry("data.py:evaluation", 64, _DIGEST),
            compression=None,
            calibration=None,
            metrics=(ACCURACY,),
            sensitivity=(),
            fidelity=FidelityEntry(1.0, {"scores": 0.0}, 0, {"scores": (32, 32)}, ()),
            batching=BatchEntry(64, 3, 16, {"scores": 0.0}, 0.0),
            speed=SpeedEntry("CPUExecutionProvider", 1, 8, 0.1, 80_000.0, 1.0, 1.0, 1.0, 15),
            size_bytes=files["model.onnx"].size_bytes,
            gate=GateEntry(passed=True, reasons=(), waiver=None),
            inputs=(TensorEntry("left", "FP32", (4,), ()), TensorEntry("right", "FP32", (4,), ())),
            outputs=(TensorEntry("scores", "FP32", (2,), ("a", "b")), TensorEntry("difference", "FP32", (1,), ())),
            warmup=WarmupEntry("warmup.npz", 1, real=False),
            drift=DriftReference({}, {}, {}),
            libraries={},
        )

    return make


def _model() -> bytes:
    """Return 2,000 bytes that differ each time: a model without a graph, whose producer has a long name."""
    return b"\x12\xcd\x0f" + os.urandom(1997)


def publish_many(
    repository: Path, count: int, say: Callable[[str], None], sign: Callable[[Path], None] | None = None
) -> None:
    """Publish versions, one after the other; every second one changes config.pbtxt as well."""
    for number in range(count):
        config = tiny_recipe.config_pbtxt(serving={"max_batch_size": 8 + number % 2})
        with claim(repository) as staging:
            made = release(repository, staging, _model(), config, {"labels.txt": "a\nb\n"})
            publish(made, manifest_of(config), say, sign)


def main() -> None:
    """Run as a process that may die at any point."""
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("killed_at", type=int, nargs="?", default=0)
    parser.add_argument("--file-limit", type=int, help="bytes that a file may have; stands in for a full disk")
    parser.add_argument("--sign-key", type=Path)
    options = parser.parse_args()
    if options.file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_limit, options.file_limit))
    said = 0

    def say(text: str) -> None:
        nonlocal said
        said += 1
        print(text, flush=True)
        if said == options.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sign = Signer(options.sign_key).sign if options.sign_key is not None else None
    publish_many(options.repository, options.count, say, sign)


if __name__ == "__main__":
    main()
