"""A generator of 8x8 digits, and the critic that it is trained against."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """Noise [N, 32] to images [N, 1, 8, 8], 0 to 1."""

    def __init__(self, noise: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.start = nn.Sequential(nn.Linear(noise, 4 * 4 * width), nn.BatchNorm1d(4 * 4 * width), nn.ReLU())
        self.grow = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Return one image per row of noise."""
        return torch.sigmoid(self.grow(self.start(noise).unflatten(1, (self.width, 4, 4))))


class Critic(nn.Module):
    """Images [N, 1, 8, 8] to a score [N, 1] of how real they look; only the training uses it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(16 * width, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return one score per image."""
        return self.layers(image)


def generator(noise: int = 32, width: int = 64) -> nn.Module:
    """Return the untrained generator."""
    return Generator(noise, width)
