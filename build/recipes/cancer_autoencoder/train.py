"""Train the autoencoder on normal samples, write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import main, reproducible
from model import scoring_autoencoder
from torch import nn

EPOCHS = 120
BATCH = 40
LEARNING_RATE = 2e-3
NOISE = 0.2  # standard deviations: what is learnt is the shape of normal samples, not the samples


def train(seed: int) -> nn.Module:
    """Return a trained network; the same seed gives the same weights, bit for bit."""
    generator = reproducible(seed)
    features = torch.tensor(split()[0])
    network = scoring_autoencoder()
    spread = features.std(dim=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(features), generator=generator).split(BATCH):
            clean = features[chosen]
            noisy = clean + NOISE * spread * torch.randn(clean.shape, generator=generator)
            wanted = (clean - features.mean(dim=0)) / spread
            loss = nn.functional.mse_loss(network(noisy)["reconstruction"], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


if __name__ == "__main__":
    main(train, __doc__)
