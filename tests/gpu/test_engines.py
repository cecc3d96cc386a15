"""The whole path on a real GPU: engines of every precision, compared, rebuilt and timed. Run by ``make gpu-check``."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from enginebuild.targets.tensorrt.gpu import find_gpu

from services.core.accelerator import Accelerator
from services.core.errors import IntegrityError, MissingDependency
from services.core.records.manifest import Manifest
from services.triton.layout import RepositoryLayout
from services.triton.trust import Trust

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]
RECIPES = Path(__file__).parents[2] / "build" / "recipes"
VARIANTS = ["int8", "fp16", "bf16", "fp32"]
# Between layers an engine may convert; what counts is that the precision is really used.
USED = {"int8": "int8", "fp16": "fp16", "bf16": "bf16"}

Built = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="session", autouse=True)
def _a_gpu() -> None:
    try:
        find_gpu()
    except MissingDependency as error:
        pytest.exit(f"{error.message}; {error.remedy}", returncode=3)


def build(folder: Path, repository: Path, *flags: str) -> tuple[dict[str, Any], str]:
    """Build a recipe with the command, and return its document and what it said."""
    command = [sys.executable, "-m", "services.cli.main", "build", "--json", str(folder / "recipe.yaml")]
    options = ["--target", "tensorrt", "--repository", str(repository), *flags]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="session", params=["digits_cnn", "digits_resnet50"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """A recipe with every precision, none of which must be faster; returns the repository and the candidates."""
    name, work = request.param, tmp_path_factory.mktemp("gpu")
    shutil.copytree(RECIPES / name, work / name)
    recipe = yaml.safe_load((work / name / "recipe.yaml").read_text())
    loosest = {metric: {"max_loss": 0.02} for metric in recipe["gate"]["metrics"]}
    recipe |= {"variants": VARIANTS, "engine": {"builds": 3}}
    recipe["gate"] = {"confidence": None, "metrics": loosest, "min_speedup": dict.fromkeys(VARIANTS, 0.0)}
    (work / name / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    document, said = build(work / name, work / "repository")
    sys.stdout.write(f"\n{said}\n{json.dumps(document, indent=1)}\n")
    return work / "repository", document["candidates"]


def test_every_precision_passes_its_gate_as_an_engine(built: Built) -> None:
    _, candidates = built
    assert [one["objections"] for one in candidates if not one["variant"].endswith("-mixed")] == [[]] * len(VARIANTS)


def test_each_engine_computes_what_its_graph_says_in_its_precision(built: Built) -> None:
    _, candidates = built
    for candidate in candidates:
        engine = candidate["engine"]
        assert engine["agreement"]
        assert engine["rebuild"]["builds"] == 3
        assert sum(layer["milliseconds"] for layer in engine["layers"]) > 0
        used = {name for layer in engine["layers"] for name in (*layer["inputs"], *layer["outputs"])}
        assert USED.get(candidate["precision"], "fp32") in used


def test_what_was_published_is_loaded_on_this_gpu_and_on_no_other(built: Built) -> None:
    layout = RepositoryLayout(built[0])
    (model,) = layout.models()
    gpu = find_gpu()
    Trust(layout, None, lambda: Accelerator(gpu.compute_capability)).check(model, 1)
    with pytest.raises(IntegrityError, match="build it there"):
        Trust(layout, None, lambda: Accelerator("7.5")).check(model, 1)
    manifest = Manifest.from_json((layout.version_directory(model, 1) / "manifest.json").read_bytes())
    assert manifest.target.device == gpu.name
    assert manifest.target.profiles
