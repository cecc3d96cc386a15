"""Train the classifier and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import main, reproducible
from model import tabular_mlp
from torch import nn

EPOCHS = 60
BATCH = 38
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    features, labels = (torch.tensor(array) for array in split()[0])
    network = tabular_mlp()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(features), generator=generator).split(BATCH):
            loss = nn.functional.cross_entropy(network(features[chosen]), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


if __name__ == "__main__":
    main(train, __doc__)
