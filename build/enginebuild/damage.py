"""Damage trained weights on purpose, to see that the gate refuses them and that a rollout takes them back.

    python -m enginebuild.damage checkpoint.safetensors damaged.safetensors

The largest weight matrices are put in a wrong order, as a wrong memory layout does. Nothing that a glance would notice
changes: names, shapes, mean, spread and even the sorted values are the same, every output is finite, and it is as fast
as before. Only the answers are wrong.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from enginebuild.checkpoint import read_checkpoint
from services.core.errors import PenstockError

_MATRIX = 2


def damage(source: Path, target: Path, seed: int = 0, layers: int = 2) -> None:
    """Write a copy of a checkpoint whose largest weight matrices are in a random order.

    Args:
        source: A checkpoint, as ``read_checkpoint`` reads it.
        target: Where the safetensors file is written.
        seed: The same seed gives the same damage.
        layers: How many matrices are damaged.

    Raises:
        ConfigurationError: The source cannot be read.
    """
    tensors = dict(read_checkpoint(source).tensors)
    generator = torch.Generator().manual_seed(seed)
    matrices = [name for name, tensor in tensors.items() if tensor.dim() >= _MATRIX and tensor.is_floating_point()]
    # By size, then by name: a safetensors file keeps no order of its own.
    for name in sorted(matrices, key=lambda name: (-tensors[name].numel(), name))[:layers]:
        flat = tensors[name].flatten()
        tensors[name] = flat[torch.randperm(len(flat), generator=generator)].reshape(tensors[name].shape)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Damage trained weights on purpose.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        damage(options.source, options.target, options.seed)
    except PenstockError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
