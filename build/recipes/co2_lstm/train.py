"""Train the forecast and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import main, reproducible
from model import forecast_lstm
from torch import nn

EPOCHS = 25
BATCH = 64
LEARNING_RATE = 5e-3


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    windows, targets = (torch.tensor(array) for array in split()[0])
    network = forecast_lstm()
    steps = EPOCHS * -(-len(windows) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(windows), generator=generator).split(BATCH):
            loss = nn.functional.l1_loss(network(windows[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


if __name__ == "__main__":
    main(train, __doc__)
