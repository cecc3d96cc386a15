"""2:4 sparsity: of four weights in a row the two smallest are zero, which NVIDIA GPUs from Ampere on skip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from services.core.errors import BuildFailed

_SPARSE = (nn.Conv2d, nn.Linear)
_GROUP = 4


class _Masked(nn.Module):
    """Multiplies a weight by a fixed mask, in every step of a training."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


@contextmanager
def two_of_four(network: nn.Module) -> Iterator[int]:
    """Keep a network's weights 2:4 sparse meanwhile, and for good afterwards; yields how many layers are.

    The rows of four run along a layer's inputs, as the tensor cores want them. Layers whose inputs are no multiple of
    four stay as they are.

    Raises:
        BuildFailed: No layer can be sparse.
    """
    layers = [module for module in network.modules() if isinstance(module, _SPARSE) and _fits(module.weight)]
    if not layers:
        raise BuildFailed("no layer has a multiple of four inputs to be 2:4 sparse")
    masks = [mask_of(layer.weight.detach()) for layer in layers]
    for layer, mask in zip(layers, masks, strict=True):
        parametrize.register_parametrization(layer, "weight", _Masked(mask))
    try:
        yield len(layers)
    finally:
        for layer, mask in zip(layers, masks, strict=True):
            if parametrize.is_parametrized(layer, "weight"):  # else who rounded it as well took both away
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            layer.weight.data.mul_(mask)


def mask_of(weight: Tensor) -> Tensor:
    """Return 1 for the two largest of every four weights along the inputs, 0 for the others."""
    last = weight.movedim(1, -1)  # [out, in, ...] -> [out, ..., in]
    rows = last.reshape(-1, _GROUP).abs()
    mask = torch.zeros_like(rows).scatter_(1, rows.topk(_GROUP // 2, dim=1).indices, 1.0)
    return mask.reshape(last.shape).movedim(-1, 1).contiguous()


def _fits(weight: Tensor) -> bool:
    return weight.shape[1] % _GROUP == 0
