"""Random numbers and arithmetic that come out the same each time, for code that does not see to it by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seed all random numbers and fix the arithmetic meanwhile, and give back what was there before.

    Args:
        seed: Of Python's, NumPy's and PyTorch's random numbers.
        threads: Of PyTorch; sums over several come out in an order that depends on how many there are.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(threads)
    # What has no reproducible form, on a GPU, runs all the same; that it differs shows when it is done again.
    torch.use_deterministic_algorithms(True, warn_only=True)
    seed_all(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict, warn_only=warns)


def seed_all(seed: int) -> None:
    """Start all random numbers anew."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
