"""Damage that no glance at the weights shows."""

from pathlib import Path

import torch
from enginebuild.checkpoint import read_checkpoint
from enginebuild.damage import damage
from safetensors.torch import save_file


def weights(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "a.count": torch.tensor(7),
        "b.weight": torch.randn(8, 4, generator=generator),
        "c.weight": torch.randn(2, 8, generator=generator),
        "c.bias": torch.randn(2, generator=generator),
    }
    save_file(tensors, tmp_path / "good.safetensors")
    return tmp_path / "good.safetensors"


def test_the_largest_matrices_hold_the_same_values_in_another_order(tmp_path: Path) -> None:
    source, target = weights(tmp_path), tmp_path / "bad.safetensors"
    damage(source, target, layers=2)
    before, after = read_checkpoint(source).tensors, read_checkpoint(target).tensors
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"a.weight", "b.weight"}
    for name in before:
        assert before[name].shape == after[name].shape
        assert torch.equal(before[name].flatten().sort().values, after[name].flatten().sort().values)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    source = weights(tmp_path)
    for name, seed in (("x", 5), ("y", 5), ("z", 6)):
        damage(source, tmp_path / f"{name}.safetensors", seed)
    x, y, z = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "xyz")
    assert x == y != z
