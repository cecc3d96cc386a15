"""Train the network and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import fit, main, reproducible
from model import image_and_table
from torch import Tensor, nn

EPOCHS = 15
BATCH = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    inputs, classes = split()[0]
    images, tables, labels = torch.tensor(inputs["image"]), torch.tensor(inputs["table"]), torch.tensor(classes)
    network = image_and_table()

    def loss_of(chosen: Tensor) -> Tensor:
        logits = network(images[chosen], tables[chosen])
        return nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)

    return fit(
        network,
        len(labels),
        loss_of,
        generator,
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
    )


if __name__ == "__main__":
    main(train, __doc__)
