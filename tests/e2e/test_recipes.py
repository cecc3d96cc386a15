"""Every family of networks: trained, built, served by Triton, and answered by the gateway as PyTorch answers.

``make recipes`` takes all recipes, and prints what each variant cost and won; without it those that train quickly.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from enginebuild.checkpoint import read_checkpoint
from enginebuild.data import load_evaluation
from enginebuild.datatypes import Arrays
from enginebuild.network import load_network
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipecode import RecipeCode

from services.cli.yamlfile import load_yaml
from services.core.records.manifest import Manifest
from services.triton.layout import RepositoryLayout
from services.triton.published import required_manifest
from tests.e2e.conftest import ROOT, Up, penstock, start_up, stop_up

# All recipes are built in the set-up of the first test; the operators of a ResNet-50 alone take minutes.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

RECIPES = ROOT / "build" / "recipes"
FILES = {str(load_yaml(path, Recipe).name): path for path in sorted(RECIPES.glob("*/*.yaml"))}
ALL = list(FILES)
# The first is built by other tests.
SLOW = {"digits_cnn", "digits_cnn_compressed", "digits_resnet50", "text_transformer"}
NAMES = ALL if os.environ.get("RECIPES") == "all" else [name for name in ALL if name not in SLOW]
MOST_SAMPLES = 64
_TIMEOUT_S = 1200.0


@dataclass
class Built:
    """A recipe in a folder of its own, and what its build said."""

    file: Path
    document: dict[str, Any]

    @property
    def recipe(self) -> Recipe:
        return load_yaml(self.file, Recipe)

    def answers(self) -> tuple[Arrays, Arrays]:
        """Return held-out inputs, and what FP32 PyTorch says of them."""
        recipe = self.recipe
        folder = self.file.parent
        with RecipeCode(folder) as code:
            data = load_evaluation(recipe, code)
            inputs = {name: array[:MOST_SAMPLES] for name, array in data.inputs.items()}
            assert recipe.checkpoint is not None
            assert recipe.checkpoint.file is not None
            network = load_network(recipe, code, read_checkpoint(folder / recipe.checkpoint.file))
            return inputs, network.run(inputs, MOST_SAMPLES)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Built]]:
    """A repository with the first version of each recipe, built as a user would: nothing is trained yet."""
    root = tmp_path_factory.mktemp("recipes")
    repository, found = root / "model_repository", {}
    for name in NAMES:
        folder = root / name
        shutil.copytree(FILES[name].parent, folder, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
        file = folder / FILES[name].name
        arguments = ("build", str(file), "--repository", str(repository))
        found[name] = Built(file, penstock(*arguments, timeout_s=_TIMEOUT_S))
        for one in found[name].document["candidates"]:
            print(_line(name, one))
    return repository, found


@pytest.fixture(scope="module")
def up(built: tuple[Path, dict[str, Built]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    repository, state_dir = built[0], tmp_path_factory.mktemp("up")
    running = Up(*start_up(repository, state_dir), repository, state_dir)
    yield running
    stop_up(running.process)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("library", [tritonclient.http, tritonclient.grpc], ids=["rest", "grpc"])
def test_the_gateway_answers_as_pytorch_does_within_the_manifests_tolerance(
    up: Up, built: tuple[Path, dict[str, Built]], name: str, library: Any
) -> None:
    one, manifest = built[1][name], manifest_of(up, name)
    inputs, expected = one.answers()
    endpoints = up.endpoints
    port = endpoints.gateway_http_port if library is tritonclient.http else endpoints.gateway_grpc_port
    with library.InferenceServerClient(f"127.0.0.1:{port}") as client:
        served = _ask(library, client, name, inputs, one.recipe.serving.max_batch_size)
    for output, wanted in expected.items():
        assert np.abs(served[output] - wanted).max() <= 1.001 * manifest.tolerance(output) + 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_says_where_a_version_comes_from_and_what_it_costs(
    up: Up, built: tuple[Path, dict[str, Built]], name: str
) -> None:
    manifest, document = manifest_of(up, name), built[1][name].document
    assert manifest.variant == document["published"]["variant"]
    assert (manifest.gate.passed, manifest.parent) == (True, None)
    assert set(manifest.drift.inputs) == {spec.name for spec in manifest.inputs}
    assert set(manifest.drift.outputs) == {spec.name for spec in manifest.outputs}
    assert all(entry.low <= entry.value <= entry.high for entry in manifest.metrics)
    assert all(entry.loss <= entry.loss_high + 1e-12 for entry in manifest.metrics)
    assert manifest.size_bytes <= document["original_bytes"]


def manifest_of(up: Up, name: str) -> Manifest:
    return required_manifest(RepositoryLayout(up.repository), name, 1)


def _ask(library: Any, client: Any, model: str, inputs: Arrays, most: int) -> Arrays:
    """Return the outputs for all samples, asked for in batches as large as the model takes."""
    parts = []
    samples = len(next(iter(inputs.values())))
    for start in range(0, samples, most):
        tensors = []
        for name, array in inputs.items():
            batch = np.ascontiguousarray(array[start : start + most])
            tensor = library.InferInput(name, list(batch.shape), _NAMES[batch.dtype.name])
            tensor.set_data_from_numpy(batch)
            tensors.append(tensor)
        parts.append(client.infer(model, tensors))
    described = parts[0].get_response()
    outputs = described["outputs"] if isinstance(described, dict) else described.outputs
    names = [output["name"] if isinstance(output, dict) else output.name for output in outputs]
    return {name: np.concatenate([part.as_numpy(name) for part in parts]) for name in names}


_NAMES = {"float32": "FP32", "int64": "INT64"}


def _line(name: str, candidate: dict[str, Any]) -> str:
    verdict = "passed" if candidate["passed"] else f"refused: {candidate['objections'][0]}"
    if not candidate["metrics"]:
        return f"{name} {candidate['variant']}: {verdict}"
    first, speed = candidate["metrics"][0], candidate["speed"]
    return (
        f"{name} {candidate['variant']}: {candidate['size_bytes'] / 1024:,.0f} KiB, {speed['speedup']:.2f}x at batch "
        f"{speed['batch_size']}, {first['name']} {first['value']:.4g} (FP32 PyTorch {first['baseline']:.4g}), {verdict}"
    )
