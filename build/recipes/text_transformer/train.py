"""Train the classifier and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import main, reproducible
from model import text_transformer
from torch import nn

EPOCHS = 4
BATCH = 50
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    tokens, labels = (torch.tensor(array) for array in split()[0])
    network = text_transformer()
    steps = EPOCHS * -(-len(tokens) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(tokens), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(network(tokens[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


if __name__ == "__main__":
    main(train, __doc__)
