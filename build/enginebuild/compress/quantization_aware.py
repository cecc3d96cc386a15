"""Training that feels the rounding of INT8: weights and inputs of products are rounded in the forward pass only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from services.core.errors import BuildFailed

_ROUNDED = (nn.Conv1d, nn.Conv2d, nn.Linear)
_WEIGHT_LIMIT, _INPUT_LIMIT = 127, 255
# How much of a range's new ends is taken over in each step.
_MOMENTUM = 0.05
_LEAST_SCALE = 1e-8


class _RoundedWeight(nn.Module):
    """Rounds a weight to 8 bits, symmetric, a scale for each output channel; gradients pass through."""

    def forward(self, weight: Tensor) -> Tensor:
        scale = (weight.detach().flatten(1).abs().amax(1) / _WEIGHT_LIMIT).clamp_min(_LEAST_SCALE)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -_WEIGHT_LIMIT, _WEIGHT_LIMIT)


class _RoundedInput:
    """Rounds a layer's input to 8 bits over the range that it saw so far; gradients pass through inside the range."""

    def __init__(self) -> None:
        self._low: Tensor | None = None
        self._high: Tensor | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        found = inputs[0]
        low, high = found.detach().amin().clamp_max(0.0), found.detach().amax().clamp_min(0.0)
        if self._low is None or self._high is None:
            self._low, self._high = low, high
        elif layer.training:
            self._low, self._high = self._low.lerp(low, _MOMENTUM), self._high.lerp(high, _MOMENTUM)
        scale = float(((self._high - self._low) / _INPUT_LIMIT).clamp_min(_LEAST_SCALE))
        zero = max(0, min(_INPUT_LIMIT, round(-float(self._low) / scale)))
        return (torch.fake_quantize_per_tensor_affine(found, scale, zero, 0, _INPUT_LIMIT), *inputs[1:])


@contextmanager
def rounding(network: nn.Module) -> Iterator[int]:
    """Round a network's products meanwhile; afterwards it has its trained weights as they are, to be calibrated.

    Raises:
        BuildFailed: It has no products.
    """
    layers = [module for module in network.modules() if isinstance(module, _ROUNDED)]
    if not layers:
        raise BuildFailed("the network has no convolution and no linear layer to train for INT8")
    handles = []
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _RoundedWeight())
        handles.append(layer.register_forward_pre_hook(_RoundedInput()))
    try:
        yield len(layers)
    finally:
        for handle in handles:
            handle.remove()
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
