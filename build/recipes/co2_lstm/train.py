"""Train the forecast and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import fit, main, reproducible
from model import forecast_lstm
from torch import Tensor, nn

EPOCHS = 25
BATCH = 64
LEARNING_RATE = 5e-3


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    windows, targets = (torch.tensor(array) for array in split()[0])
    network = forecast_lstm()

    def loss_of(chosen: Tensor) -> Tensor:
        return nn.functional.l1_loss(network(windows[chosen]), targets[chosen])

    return fit(
        network,
        len(windows),
        loss_of,
        generator,
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
    )


if __name__ == "__main__":
    main(train, __doc__)
