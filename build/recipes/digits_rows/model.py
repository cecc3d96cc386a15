"""Convolutions over an image, then a GRU that reads it row by row."""

from __future__ import annotations

from torch import Tensor, nn

PIXEL_MAX = 16.0
CLASSES = 10
SIZE = 8


class RowReader(nn.Module):
    """Raw pixel values [N, 1, 8, 8] to logits [N, 10]."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.reader = nn.GRU(width * SIZE, states, batch_first=True)
        self.head = nn.Linear(states, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Return one logit per class."""
        rows = self.features(image / PIXEL_MAX).transpose(1, 2).flatten(2)
        states, _ = self.reader(rows)
        return self.head(states[:, -1])


def row_reader(width: int = 48, states: int = 96) -> nn.Module:
    """Return the untrained network."""
    return RowReader(width, states)
