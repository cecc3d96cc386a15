"""A network with two inputs: an image through convolutions, a table through a perceptron, one decision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PIXEL_MAX = 16.0
CLASSES = 10
COLUMNS = 7


class ImageAndTable(nn.Module):
    """Images [N, 1, 8, 8] and tables [N, 7] to logits [N, 10]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.scale = nn.BatchNorm1d(COLUMNS, momentum=None, affine=False)
        self.read = nn.Sequential(nn.Linear(COLUMNS, width), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(9 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, CLASSES))

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        """Return one logit per class."""
        return self.head(torch.cat([self.look(image / PIXEL_MAX), self.read(self.scale(table))], dim=1))


def image_and_table(width: int = 48) -> nn.Module:
    """Return the untrained network."""
    return ImageAndTable(width)
