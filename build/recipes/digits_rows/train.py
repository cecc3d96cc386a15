"""Train the reader and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import fit, main, reproducible
from model import row_reader
from torch import Tensor, nn

EPOCHS = 15
BATCH = 64
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    images, labels = (torch.tensor(array) for array in split()[0])
    network = row_reader()

    def loss_of(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(images[chosen]), labels[chosen], label_smoothing=0.05)

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


if __name__ == "__main__":
    main(train, __doc__)
