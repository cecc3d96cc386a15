"""Synthetic weights of a real size: a random backbone, and a head that was fitted to what it sees.

Nothing is learnt in the backbone. Its weights are drawn as He et al. (2015) draw them before a training, its batch
normalisation takes the statistics of real images, and the head is a ridge regression on its features. That is enough to
read upscaled digits, and every layer works on values as it does in a trained network, which is what speed and INT8
depend on.
"""

from __future__ import annotations

import torch
from data import split
from enginebuild.training_script import main, reproducible
from model import CLASSES, ResNet50
from torch import Tensor, nn

BATCH = 20
RIDGE = 1.0
# Damps each block's contribution: without it a random network of this depth only sees its own noise.
RESIDUAL_SCALE = 0.3


def train(seed: int) -> nn.Module:
    """Return the network; the same seed gives the same weights."""
    reproducible(seed)
    images, labels = (torch.tensor(array) for array in split()[0])
    network = ResNet50()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over what it sees
    for block in network.backbone:
        if hasattr(block, "body"):
            nn.init.constant_(block.body[-1].weight, RESIDUAL_SCALE)
    with torch.no_grad():
        network.train()
        for batch in images[:100].split(BATCH):
            network.features(batch)
        network.eval()
        features = torch.cat([network.features(batch) for batch in images.split(BATCH)])
        weight, bias = _ridge(features.double(), nn.functional.one_hot(labels, CLASSES).double())
        network.head.weight.copy_(weight)
        network.head.bias.copy_(bias)
    return network


def _ridge(features: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight [C, F] and bias [C] of the regression, with features scaled to one spread."""
    mean, spread = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled, centred = (features - mean) / spread, wanted - wanted.mean(dim=0)
    gram = scaled @ scaled.T + RIDGE * len(features) * torch.eye(len(features), dtype=torch.double)
    weight = (scaled.T @ torch.linalg.solve(gram, centred)).T / spread
    return weight, wanted.mean(dim=0) - weight @ mean


if __name__ == "__main__":
    main(train, __doc__)
