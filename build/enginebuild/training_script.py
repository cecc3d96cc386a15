"""What the training scripts of recipes share: command line, reproducible arithmetic, how weights are written."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


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


def fit(
    network: nn.Module,
    samples: int,
    loss_of: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float = 0.01,
) -> nn.Module:
    """Train with AdamW under a one-cycle schedule (Smith and Topin, 2018), and return the network for evaluation.

    Args:
        network: What is trained, in place.
        samples: How many there are.
        loss_of: The loss of the samples with these indices.
        generator: Shuffles them anew in each epoch.
        epochs: How often each is seen.
        batch_size: Samples per step.
        learning_rate: The highest.
        weight_decay: Of AdamW.
    """
    steps = epochs * -(-samples // batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(samples, generator=generator).split(batch_size):  # type: ignore[no-untyped-call]
            loss = loss_of(chosen)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def reproducible(seed: int) -> torch.Generator:
    """Make the arithmetic of this process reproducible bit for bit, and return a generator of random numbers."""
    torch.set_num_threads(1)  # sums over several threads come out in another order each time
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
