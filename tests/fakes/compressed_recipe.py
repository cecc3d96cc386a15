"""A convolutional recipe with a variant per way of compression, whose code seeds and bounds nothing by itself.

    python -m tests.fakes.compressed_recipe FOLDER

builds every variant in that folder and prints the digest of each model as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from enginebuild.pipeline import Order, build
from enginebuild.recipe.recipe import Recipe

MODEL = '''
import torch
from torch import nn


class Shapes(nn.Module):
    """A stem, a block with a shortcut, a head."""

    def __init__(self, width):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, width, 3, padding=1),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(16 * width, 32), nn.ReLU(), nn.Linear(32, 4))
        self.pool = nn.AvgPool2d(2)

    def forward(self, image):
        features = self.stem(image)
        return self.head(self.pool(features + self.body(features)))


def shapes(width=16):
    return Shapes(width)
'''

DATA = """
import numpy as np


def images(seed, samples):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, samples)
    found = generator.random((samples, 1, 8, 8), dtype=np.float32)
    for row, label in enumerate(labels):
        found[row, 0, 4 * (label // 2):4 * (label // 2) + 4, 4 * (label % 2):4 * (label % 2) + 4] += 1
    return found, labels


def evaluation():
    found, labels = images(1, 64)
    return {"image": found}, labels


def calibration():
    return {"image": images(2, 32)[0]}
"""

TUNE = '''
import random

import numpy as np
import torch
from data import images


def fine_tune(network, teacher, seed):
    """As people write it: random numbers from everywhere, as many threads as there are."""
    found, labels = (torch.tensor(array) for array in images(3, 256))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(12):
        chosen = torch.tensor(np.random.permutation(256)[:64])
        seen = found[chosen] + 0.1 * torch.randn(64, 1, 8, 8) + 0.01 * random.random()
        with torch.no_grad():
            taught = teacher(seen).log_softmax(1)
        logits = network(seen)
        loss = torch.nn.functional.cross_entropy(logits, labels[chosen])
        loss = loss + torch.nn.functional.kl_div(logits.log_softmax(1), taught, reduction="batchmean", log_target=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
'''

TRAIN = """
import torch
from enginebuild.training_script import main, reproducible
from model import shapes


def train(seed):
    reproducible(seed)
    return shapes()


if __name__ == "__main__":
    main(train, None)
"""

STUDENT = {"factory": "model.py:shapes", "kwargs": {"width": 8}}
VARIANTS: list[dict[str, Any]] = [
    {"name": "pruned", "precision": "int8", "prune": 0.5},
    {"name": "sparse", "precision": "fp32", "sparsity": "2:4"},
    {"name": "student", "precision": "int8_dynamic", "student": STUDENT},
    {"name": "aware", "precision": "int8", "quantization_aware": True},
    {
        "name": "all",
        "precision": "int8",
        "student": STUDENT,
        "prune": 0.25,
        "sparsity": "2:4",
        "quantization_aware": True,
    },
]


def recipe() -> Recipe:
    """Return the recipe; it demands nothing of its variants."""
    names = [one["name"] for one in VARIANTS]
    return Recipe.model_validate(
        {
            "name": "shapes",
            "seed": 5,
            "checkpoint": {"file": "checkpoint.safetensors", "trained_by": "train.py"},
            "network": {"factory": "model.py:shapes"},
            "inputs": [{"name": "image", "datatype": "FP32", "dims": [1, 8, 8]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "dims": [4], "labels": "labels.txt"}],
            "data": {"evaluation": "data.py:evaluation", "calibration": "data.py:calibration"},
            "metrics": [{"metric": "accuracy"}],
            "compression": {"fine_tune": "tune.py:fine_tune", "builds": 1},
            "variants": VARIANTS,
            "gate": {
                "confidence": None,
                "metrics": {"accuracy": {"min": 0.0}},
                "min_speedup": dict.fromkeys(names, 0.0),
            },
            "serving": {"max_batch_size": 16, "threads": 1},
        }
    )


def digests(folder: Path) -> dict[str, str]:
    """Build every variant in a folder, trained there anew, and return the digest of each model."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model.py": MODEL, "data.py": DATA, "tune.py": TUNE, "train.py": TRAIN, "labels.txt": "a\nb\nc\nd\n"}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    found = {}
    for variant in VARIANTS:
        order = Order(folder / "repository", "2026-11-28T10:00:00+00:00", variant=variant["name"])
        result = build(recipe(), folder, order, lambda _: None)
        if result.published is None:
            raise AssertionError(f"{variant['name']}: {result.candidates[0].objections}")
        found[variant["name"]] = result.published.manifest.files["model.onnx"].sha256
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests(Path(sys.argv[1]))))
