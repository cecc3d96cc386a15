"""Train the digits network and write its weights: ``python train.py --output checkpoint.safetensors``.

The held-out samples take no part: no early stopping, no choice of an epoch by them.
"""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import fit, main, reproducible
from model import digits_cnn
from torch import Tensor, nn

EPOCHS = 20
BATCH = 64
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.05
FINE_TUNING_EPOCHS = 8
FINE_TUNING_RATE = 2e-3
SOFTNESS = 3.0  # temperature of the teacher's answers
TURN = 0.2  # radians
SCALE = 0.1  # of the size
MOVE = 0.25  # of half the width: one pixel


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch, each image turned, scaled and moved a little: no two people write a digit in one place."""
    count = len(images)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * 2 - 1

    angle, scale, move = TURN * uniform(count), 1 + SCALE * uniform(count), MOVE * uniform(count, 2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cos, -sin, move[:, 0], sin, cos, move[:, 1]], dim=1)
    grid = nn.functional.affine_grid(rows.view(count, 2, 3), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False)


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    images, labels = (torch.tensor(array) for array in split()[0])
    network = digits_cnn()

    def loss_of(chosen: Tensor) -> Tensor:
        logits = network(jittered(images[chosen], generator))
        return nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)

    return fit(
        network,
        len(images),
        loss_of,
        generator,
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
    )


def fine_tune(network: nn.Module, teacher: nn.Module, seed: int) -> None:
    """Train a compressed network in place, by the labels and by the trained network's answers (Hinton et al., 2015)."""
    generator = reproducible(seed)
    images, labels = (torch.tensor(array) for array in split()[0])

    def loss_of(chosen: Tensor) -> Tensor:
        seen = jittered(images[chosen], generator)
        logits = network(seen)
        with torch.no_grad():
            taught = nn.functional.log_softmax(teacher(seen) / SOFTNESS, dim=1)
        learnt = nn.functional.log_softmax(logits / SOFTNESS, dim=1)
        likeness = SOFTNESS**2 * nn.functional.kl_div(learnt, taught, reduction="batchmean", log_target=True)
        return nn.functional.cross_entropy(logits, labels[chosen]) + likeness

    fit(
        network,
        len(images),
        loss_of,
        generator,
        epochs=FINE_TUNING_EPOCHS,
        batch_size=BATCH,
        learning_rate=FINE_TUNING_RATE,
        weight_decay=WEIGHT_DECAY,
    )


if __name__ == "__main__":
    main(train, __doc__)
