"""The real recipe, from training to a published version that answers as its manifest says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from enginebuild.damage import damage
from enginebuild.pipeline import BuildResult, Order, build
from enginebuild.recipe.recipe import Recipe

from services.cli.yamlfile import load_yaml
from services.core.records.manifest import Manifest
from services.triton.layout import RepositoryLayout
from services.triton.published import faults_of, required_manifest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CREATED = "2026-11-20T10:00:00+00:00"


class Digits:
    """The recipe in a folder of its own, and a repository that it is published in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "recipe"
        self.repository = folder / "repository"
        ignored = shutil.ignore_patterns("*.safetensors", "__pycache__")
        shutil.copytree(ROOT / "build/recipes/digits_cnn", self.folder, ignore=ignored)
        # How fast INT8 is depends on the machine that runs the tests; that it is judged is tested elsewhere.
        path = self.folder / "recipe.yaml"
        path.write_text(path.read_text().replace("min_speedup: {int8: 1.1}", "min_speedup: {int8: 0.01}"))

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    def build(self, **order: Any) -> BuildResult:
        """Build in this process."""
        recipe = load_yaml(self.folder / "recipe.yaml", Recipe)
        return build(recipe, self.folder, Order(self.repository, CREATED, **order), lambda text: None)

    def command(self, *options: str) -> tuple[int, dict[str, Any], str]:
        """Run ``penstock build --json``; return its exit code, its result and its error output."""
        command = [sys.executable, "-m", "services.cli.main", "build", str(self.folder / "recipe.yaml"), "--json"]
        done = subprocess.run(
            [*command, "--repository", str(self.repository), *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    def manifest(self, version: int) -> Manifest:
        return required_manifest(RepositoryLayout(self.repository), "digits_cnn", version)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    """Trained once; version 1 is FP32, version 2 INT8."""
    digits = Digits(tmp_path_factory.mktemp("digits"))
    code, result, errors = digits.command("--precision", "fp32")
    assert (code, errors) == (0, "")
    assert result["published"]["version"] == 1
    published = digits.build(precision="int8").published
    assert published is not None
    assert published.manifest.version == 2
    return digits


def recomputed(version_folder: Path) -> tuple[int, int]:
    """Return (right, all) of the held-out samples, from the published files alone."""
    session = onnxruntime.InferenceSession(str(version_folder / "model.onnx"), providers=["CPUExecutionProvider"])
    with np.load(version_folder / "evaluation.npz", allow_pickle=False) as data:
        (logits,) = session.run(["logits"], {"image": data["image"]})
        return int((logits.argmax(axis=1) == data["labels"]).sum()), len(data["labels"])


@pytest.mark.parametrize("version", [1, 2])
def test_the_published_model_has_the_accuracy_that_its_manifest_names(digits: Digits, version: int) -> None:
    accuracy = digits.manifest(version).metrics[0]
    right, samples = recomputed(digits.repository / "digits_cnn" / str(version))
    assert (accuracy.name, accuracy.value, accuracy.samples) == ("accuracy", right / samples, samples)
    assert accuracy.samples == 450
    assert accuracy.value >= 0.98
    assert accuracy.low < accuracy.value < accuracy.high


@pytest.mark.parametrize("version", [1, 2])
def test_every_file_is_as_the_manifest_says(digits: Digits, version: int) -> None:
    assert faults_of(RepositoryLayout(digits.repository), digits.manifest(version)) == []


def test_int8_is_smaller_and_says_how_it_was_calibrated(digits: Digits) -> None:
    fp32, int8 = digits.manifest(1), digits.manifest(2)
    assert int8.size_bytes < fp32.size_bytes / 3
    assert fp32.calibration is None
    assert int8.calibration is not None
    assert int8.calibration.data.samples == 256
    assert int8.calibration.data.sha256 != int8.evaluation.sha256
    assert int8.fidelity.agreement is not None
    assert int8.fidelity.agreement > 0.98
    assert fp32.fidelity.max_abs_diff["logits"] < 1e-3


def test_both_versions_come_from_the_same_weights_and_data(digits: Digits) -> None:
    fp32, int8 = digits.manifest(1), digits.manifest(2)
    assert fp32.checkpoint == int8.checkpoint
    assert fp32.evaluation == int8.evaluation
    assert fp32.recipe_sha256 == int8.recipe_sha256
    assert 250_000 < fp32.checkpoint.parameters < 350_000


def test_the_config_is_the_committed_one(digits: Digits) -> None:
    committed = ROOT / "model_repository/digits_cnn"
    for name in ("config.pbtxt", "labels.txt"):
        assert (digits.repository / "digits_cnn" / name).read_bytes() == (committed / name).read_bytes()


def test_building_again_from_the_same_weights_gives_the_same_model_byte_for_byte(
    digits: Digits, tmp_path: Path
) -> None:
    other = Digits(tmp_path)
    published = other.build(checkpoint=digits.checkpoint).published
    assert published is not None
    assert published.manifest.precision == "int8"
    assert published.manifest.files == digits.manifest(2).files
    assert not other.checkpoint.exists()


def test_damaged_weights_are_refused_and_published_only_with_a_reason(digits: Digits, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damage(digits.checkpoint, damaged)
    code, result, errors = digits.command("--precision", "fp32", "--checkpoint", str(damaged))
    assert code == 1
    assert "at least 98.00% demanded" in errors
    assert result["published"] is None
    assert [candidate["passed"] for candidate in result["candidates"]] == [False]
    assert not (digits.repository / "digits_cnn" / "3").exists()

    published = digits.build(precision="fp32", checkpoint=damaged, waiver="to see it rolled back").published
    assert published is not None
    manifest = digits.manifest(3)
    assert (manifest.gate.passed, manifest.gate.waiver) == (False, "to see it rolled back")
    assert manifest.fidelity.non_finite == 0
    assert manifest.metrics[0].value < 0.7
    right, samples = recomputed(digits.repository / "digits_cnn" / "3")
    assert right / samples == manifest.metrics[0].value
