"""A small residual network for 8x8 images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# scikit-learn's digits count the dark pixels of a 4x4 block: 0 to 16.
PIXEL_MAX = 16.0
CLASSES = 10


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, as in He et al., "Deep Residual Learning" (2015)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, H / stride, W / stride]."""
        out = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class DigitsCNN(nn.Module):
    """Raw pixel values [N, 1, 8, 8], 0 to 16, to logits [N, 10]; the scaling is part of the network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, 1),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Return one logit per class."""
        features = self.blocks(self.stem(image / PIXEL_MAX))
        return self.head(features.mean(dim=(2, 3)))


def digits_cnn(width: int = 32) -> nn.Module:
    """Return the untrained network; about 0.3 M parameters at width 32."""
    return DigitsCNN(width)
