"""Train the classifier and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import fit, main, reproducible
from model import text_transformer
from torch import Tensor, nn

EPOCHS = 4
BATCH = 50
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    tokens, labels = (torch.tensor(array) for array in split()[0])
    network = text_transformer()

    def loss_of(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(tokens[chosen]), labels[chosen])

    return fit(
        network,
        len(tokens),
        loss_of,
        generator,
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
    )


if __name__ == "__main__":
    main(train, __doc__)
