"""A compressed network comes out the same, byte for byte, or the manifest says what differs and by how much."""

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from enginebuild.compress.reproducible import reproducible
from enginebuild.pipeline import Order, build
from enginebuild.recipe.recipe import Recipe

from services.core.records.compression_record import NetworkRebuildEntry
from tests.fakes import tiny_recipe
from tests.fakes.compressed_recipe import VARIANTS

ROOT = Path(__file__).parents[3]
RESTLESS = """
import os

import torch


def restless(network, teacher, seed):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += int.from_bytes(os.urandom(4), "big") / 2**32 / 100


def calm(network, teacher, seed):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.rand(parameter.shape) / 100
"""


# Before anything asks how many cores there are.
ON_CORES = """
import os, runpy, sys

os.sched_setaffinity(0, set(map(int, sys.argv.pop(1).split(","))))
runpy.run_module("tests.fakes.compressed_recipe", run_name="__main__")
"""


def digests(folder: Path, hash_seed: str, cores: set[int]) -> dict[str, str]:
    command = [sys.executable, "-c", ON_CORES, ",".join(map(str, cores)), str(folder)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_same_recipe_gives_the_same_compressed_models_byte_for_byte(tmp_path: Path) -> None:
    """Trained in another folder, by another process with other hashes, on another number of cores."""
    cores = os.sched_getaffinity(0)
    with ThreadPoolExecutor() as both:
        first = both.submit(digests, tmp_path / "one", "1", cores)
        second = both.submit(digests, tmp_path / "two", "2", {min(cores)})
    one, two = first.result(), second.result()
    assert set(one) == {variant["name"] for variant in VARIANTS}
    assert one == two
    assert len(set(one.values())) == len(VARIANTS)


def rebuilt(tmp_path: Path, function: str, builds: int = 3) -> NetworkRebuildEntry | None:
    folder = tmp_path / "recipe"
    tiny_recipe.write(folder)
    (folder / "tune.py").write_text(RESTLESS)
    document: dict[str, Any] = tiny_recipe.document(
        variants=[{"name": "sparse", "precision": "fp32", "sparsity": "2:4"}],
        gate={"confidence": None, "metrics": {"accuracy": {"min": 0.0}}, "min_speedup": {"sparse": 0.0}},
        compression={"fine_tune": f"tune.py:{function}", "builds": builds},
    )
    order = Order(tmp_path / "repository", "2026-11-28T10:00:00+00:00")
    published = build(Recipe.model_validate(document), folder, order, lambda _: None).published
    assert published is not None
    assert published.manifest.compression is not None
    assert published.manifest.compression.threads == 1
    assert [path.name for path in published.path.iterdir() if path.suffix == ".onnx"] == ["model.onnx"]
    return published.manifest.compression.rebuild


def test_what_comes_out_the_same_again_is_on_record(tmp_path: Path) -> None:
    assert rebuilt(tmp_path, "calm") == NetworkRebuildEntry(builds=3, identical=2, differing=(), max_difference=0.0)


def test_what_does_not_is_named_with_how_far_it_is_off(tmp_path: Path) -> None:
    found = rebuilt(tmp_path, "restless")
    assert found is not None
    assert (found.builds, found.identical, found.differing) == (3, 0, ("network.mix.weight",))
    assert found.max_difference is not None
    assert 0 < found.max_difference < 0.01


def test_a_network_may_be_made_once(tmp_path: Path) -> None:
    assert rebuilt(tmp_path, "restless", builds=1) is None


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_random_numbers_and_arithmetic_are_given_back() -> None:
    with reproducible(7, 1):
        first = drawn()
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    mine = random.getstate()
    with reproducible(7, 1):
        assert drawn() == first
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == mine
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (threads, False)
