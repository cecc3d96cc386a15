"""Structured pruning: the least important channels go, with everything that depends on them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from services.core.errors import BuildFailed, MissingDependency

_PRUNED = (nn.Conv1d, nn.Conv2d, nn.Linear)


def prune(network: nn.Module, example: Sequence[Tensor], share: float) -> nn.Module:
    """Return a copy of a network without a share of the channels of each layer, by group magnitude (Fang et al., 2023).

    Layers whose channels are outputs of the network keep them all.

    Args:
        network: The network, in evaluation mode.
        example: Its inputs, two samples of each.
        share: Of the channels, 0 to 1.

    Raises:
        BuildFailed: Nothing in it can be pruned, or it does not run any more.
        MissingDependency: torch-pruning is not installed.
    """
    try:
        import torch_pruning  # only those who prune wait for it
    except ImportError as error:
        raise MissingDependency(
            f"torch-pruning cannot be imported: {error}", "pip install 'penstock[build]'"
        ) from error
    pruned, inputs = copy.deepcopy(network), tuple(example)
    before = _shapes(pruned, inputs)
    logging.getLogger("torch_pruning").setLevel(logging.ERROR)
    layers = _layers(pruned)
    try:
        kept = [layer for name, layer in layers if _shows_outside(torch_pruning, network, name, inputs, before)]
        torch_pruning.pruner.BasePruner(
            pruned,
            inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            ignored_layers=kept,
        ).step()
        after = _shapes(pruned, inputs)
    except Exception as error:  # the library follows whatever the network does
        raise BuildFailed(f"the network cannot be pruned: {type(error).__name__}: {error}") from error
    if len(kept) == len(layers):
        raise BuildFailed("no layer has channels that are the network's own affair")
    if after != before:
        raise BuildFailed(f"pruning changed the outputs from {before} to {after}")
    return pruned.eval()


def _layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, _PRUNED)]


def _shows_outside(
    torch_pruning: Any, network: nn.Module, name: str, inputs: tuple[Tensor, ...], before: list[tuple[int, ...]]
) -> bool:
    """Return whether a channel less in a layer changes the network's outputs, or stops it."""
    tried = copy.deepcopy(network)
    layer = tried.get_submodule(name)
    graph = torch_pruning.DependencyGraph().build_dependency(tried, example_inputs=inputs)
    linear = isinstance(layer, nn.Linear)
    remove = torch_pruning.prune_linear_out_channels if linear else torch_pruning.prune_conv_out_channels
    group = graph.get_pruning_group(layer, remove, idxs=[0])
    if not graph.check_pruning_group(group):
        return True
    group.prune()
    try:
        return _shapes(tried, inputs) != before
    except Exception:  # noqa: BLE001 - a network that breaks in any way must keep its channels
        return True


def _shapes(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of a network's outputs."""
    with torch.no_grad():
        found = network(*inputs)
    if isinstance(found, dict):
        found = list(found.values())
    return [tuple(one.shape) for one in (found if isinstance(found, tuple | list) else [found])]
