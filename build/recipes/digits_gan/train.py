"""Train the generator and write its weights: ``python train.py --output checkpoint.safetensors``."""

from __future__ import annotations

import torch
from data import NOISE, split
from enginebuild.training_script import main, reproducible
from model import Critic, generator
from torch import Tensor, nn

EPOCHS = 40
BATCH = 64
LEARNING_RATE = 1e-3
BETAS = (0.5, 0.99)


def train(seed: int) -> nn.Module:
    """Return a trained generator; the same seed gives the same weights, bit for bit."""
    random = reproducible(seed)
    real = torch.tensor(split()[0])
    maker, critic = generator(), Critic(48)
    to_make = torch.optim.Adam(maker.parameters(), lr=LEARNING_RATE, betas=BETAS)
    to_judge = torch.optim.Adam(critic.parameters(), lr=LEARNING_RATE, betas=BETAS)

    def made(count: int) -> Tensor:
        return maker(torch.randn(count, NOISE, generator=random))

    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(real), generator=random)[: len(real) // BATCH * BATCH].split(BATCH):
            # The hinge loss (Lim and Ye, 2017).
            fake = made(BATCH).detach()
            judged = torch.relu(1 - critic(real[chosen])).mean() + torch.relu(1 + critic(fake)).mean()
            to_judge.zero_grad()
            judged.backward()
            to_judge.step()
            fooled = -critic(made(BATCH)).mean()
            to_make.zero_grad()
            fooled.backward()
            to_make.step()
    return maker.eval()


if __name__ == "__main__":
    main(train, __doc__)
