"""What the training scripts of recipes share: command line, reproducible arithmetic, how weights are written."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


def main(train: Callable[[int], nn.Module], description: str | None) -> None:
    """Run a training from the command line: ``python train.py --output checkpoint.safetensors --seed 0``.

    Args:
        train: Returns the trained network; the seed is its argument.
        description: What the command does.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=Path("checkpoint.safetensors"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    weights = {name: tensor.contiguous() for name, tensor in train(options.seed).state_dict().items()}
    save_file(weights, options.output)


def reproducible(seed: int) -> torch.Generator:
    """Make the arithmetic of this process reproducible bit for bit, and return a generator of random numbers."""
    torch.set_num_threads(1)  # sums over several threads come out in another order each time
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
