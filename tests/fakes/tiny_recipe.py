"""A recipe that builds in a second: two inputs, two outputs, a network of one layer, data made of a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from enginebuild.config_pbtxt import render
from enginebuild.recipe.recipe import Recipe
from enginebuild.targets.onnxruntime import cpu_backend

MODEL = '''
import torch
from torch import nn


class Sums(nn.Module):
    """Scores the larger of two sums; also returns their difference."""

    def __init__(self, width):
        super().__init__()
        self.mix = nn.Linear(2 * width, 2, bias=False)

    def forward(self, left, right):
        scores = self.mix(torch.cat([left, right], dim=1))
        return {"scores": scores, "difference": scores[:, :1] - scores[:, 1:]}


def sums(width=4):
    return Sums(width)
'''

DATA = """
import numpy as np


def _inputs(seed, samples):
    generator = np.random.default_rng(seed)
    return {name: generator.random((samples, 4), dtype=np.float32) for name in ("left", "right")}


def evaluation():
    inputs = _inputs(1, 64)
    return inputs, (inputs["right"].sum(1) > inputs["left"].sum(1)).astype(np.int64)


def calibration():
    return _inputs(2, 32)
"""

TRAIN = """
import argparse

import torch
from model import sums
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("--output")
parser.add_argument("--seed", type=int)
options = parser.parse_args()
network = sums()
weight = torch.zeros(2, 8)
weight[0, :4] = weight[1, 4:] = 1
network.load_state_dict({"mix.weight": weight})
save_file(network.state_dict(), options.output)
"""


FP32_ONLY: dict[str, Any] = {"variants": ["fp32"], "gate": {"metrics": {"accuracy": {"min": 0.9}}}}


def document(**changes: Any) -> dict[str, Any]:
    """Return the recipe as YAML would hold it, with whole parts replaced."""
    return {
        "name": "sums",
        "seed": 3,
        "checkpoint": {"file": "checkpoint.safetensors", "trained_by": "train.py"},
        "network": {"factory": "model.py:sums", "kwargs": {"width": 4}},
        "inputs": [
            {"name": "left", "datatype": "FP32", "dims": [4]},
            {"name": "right", "datatype": "FP32", "dims": [4]},
        ],
        "outputs": [
            {"name": "scores", "datatype": "FP32", "dims": [2], "labels": "labels.txt"},
            {"name": "difference", "datatype": "FP32", "dims": [1]},
        ],
        "data": {"evaluation": "data.py:evaluation", "calibration": "data.py:calibration"},
        "metrics": [{"metric": "accuracy", "output": "scores"}],
        "variants": ["int8", "fp32"],
        "gate": {
            "confidence": None,
            "metrics": {"accuracy": {"min": 0.9, "max_loss": {"int8": 0.2, "fp32": 0.0}}},
            "min_speedup": {"int8": 0.0},
        },
        "serving": {"max_batch_size": 16, "preferred_batch_sizes": [4, 8], "threads": 1},
    } | changes


def recipe(**changes: Any) -> Recipe:
    """Return the recipe, with whole parts replaced."""
    return Recipe.model_validate(document(**changes))


def config_pbtxt(**changes: Any) -> str:
    """Return the config.pbtxt of the recipe, with whole parts of it replaced."""
    made = recipe(**changes)
    return render(made, cpu_backend(made), {"left": (4,), "right": (4,)})


def write(folder: Path, **changes: Any) -> Path:
    """Write the recipe and its code into a folder and return the path of the YAML file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model.py": MODEL, "data.py": DATA, "train.py": TRAIN, "labels.txt": "left\nright\n"}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document(**changes), sort_keys=False), encoding="utf-8")
    return path
