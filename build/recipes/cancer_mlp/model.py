"""A multilayer perceptron over tabular data."""

from __future__ import annotations

from torch import Tensor, nn

FEATURES = 30


class TabularMLP(nn.Module):
    """Raw measurements [N, 30] to logits [N, 2]; the scaling is a batch normalisation, part of the network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(FEATURES, momentum=None, affine=False)
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.2)
        )
        self.head = nn.Linear(width, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Return one logit per class."""
        return self.head(self.layers(self.scale(features)))


def tabular_mlp(width: int = 512) -> nn.Module:
    """Return the untrained network."""
    return TabularMLP(width)
