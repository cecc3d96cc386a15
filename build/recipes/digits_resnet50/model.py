"""ResNet-50 (He et al., 2015), with the stride in the 3x3 convolution as in torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 10
EXPANSION = 4
DEPTHS = (3, 4, 6, 3)


class Bottleneck(nn.Module):
    """Three convolutions, 1x1, 3x3 and 1x1, and a shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = EXPANSION * width
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, 4 * width, H / stride, W / stride]."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """Images [N, 3, 224, 224] to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        channels = 64
        for stage, depth in enumerate(DEPTHS):
            width = 64 << stage
            for block in range(depth):
                layers.append(Bottleneck(channels, width, 2 if stage and not block else 1))
                channels = EXPANSION * width
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Linear(channels, CLASSES)

    def features(self, image: Tensor) -> Tensor:
        """Return what the backbone sees, [N, 2048]."""
        return self.backbone(image).mean(dim=(2, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Return one logit per class."""
        return self.head(self.features(image))


def resnet50() -> nn.Module:
    """Return the untrained network; 23.5 M parameters with ten classes."""
    return ResNet50()
