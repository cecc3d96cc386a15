"""A checkpoint is tensors and nothing else, and fits the network key by key."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from enginebuild.checkpoint import Weights, fit, read_checkpoint
from safetensors.torch import save, save_model
from torch import nn

from services.core.errors import ConfigurationError


class Danger:
    """Unpickling it would write a file."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Any, ...]]:
        return Path.write_text, (Path("/tmp/penstock-test-unpickled-code-ran"), "x")


def torch_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


WEIGHTS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.safetensors", save(WEIGHTS)),
        ("w.pt", torch_bytes(WEIGHTS)),
        ("w.pth", torch_bytes({"state_dict": WEIGHTS, "epoch": 3})),
        ("w.ckpt", torch_bytes({"model_state_dict": WEIGHTS, "optimizer": {"lr": 0.1}})),
    ],
)
def test_tensors_are_read_from_every_usual_form(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    network = nn.Linear(3, 2)
    fit(network, read_checkpoint(path))
    assert torch.equal(network.weight, WEIGHTS["weight"])


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt"])
@pytest.mark.parametrize("save_as", [torch_bytes, pickle.dumps], ids=["torch", "pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run_it(
    tmp_path: Path, name: str, save_as: Callable[[object], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(save_as({"weight": Danger()}))
    with pytest.raises(ConfigurationError, match="could run code"):
        read_checkpoint(path)
    assert not Path("/tmp/penstock-test-unpickled-code-ran").exists()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("w.safetensors", b"", "not a whole safetensors file"),
        ("w.safetensors", save(WEIGHTS)[:-5], "not a whole safetensors file"),
        ("w.safetensors", torch_bytes(WEIGHTS), "not a whole safetensors file"),
        ("w.safetensors", b"\xff" * 64, "not a whole safetensors file"),
        ("w.pt", b"", "not a whole PyTorch file"),
        ("w.pt", torch_bytes(WEIGHTS)[:-100], "not a whole PyTorch file"),
        ("w.pt", torch_bytes([1, 2]), "holds a list, expected a state_dict"),
        ("w.pt", torch_bytes({"weight": 3}), "'weight' is a int"),
        ("w.pt", torch_bytes({}), "holds no tensor"),
        ("w.safetensors", save({}), "holds no tensor"),
        ("w.onnx", b"x", "'.onnx' is no known kind; expected .safetensors or .bin"),
        ("w", b"x", "'' is no known kind"),
        ("w.safetensors", save({"a": torch.tensor([1.0, float("nan")])}), "'a' holds 1 NaN or infinite of 2 values"),
        ("w.safetensors", save({"a": torch.tensor([float("-inf")]).half()}), "'a' holds 1 NaN or infinite"),
        ("w.pt", torch_bytes({"a": torch.full((3,), float("inf"))}), "'a' holds 3 NaN or infinite of 3"),
    ],
    ids=range(15),
)
def test_a_file_that_holds_no_usable_weights_is_refused_with_the_reason(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=words) as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "folder"])
def test_a_path_without_a_file_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "w.safetensors"
    make(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "drop", "words"),
    [
        ({}, {"bias"}, "the network's 'bias' is not in the file"),
        ({"more": torch.zeros(1)}, set(), "the file's 'more' is not in the network"),
        ({"weight": torch.zeros(3, 2)}, set(), r"'weight' is \[3, 2\], the network has \[2, 3\]"),
        ({"weight": torch.zeros(6)}, set(), r"'weight' is \[6\], the network has \[2, 3\]"),
        (
            {"weight": torch.zeros(2, 3, dtype=torch.int64)},
            set(),
            "is torch.int64, the network has torch.float32",
        ),
        ({"biass": torch.zeros(2)}, {"bias"}, "'bias' is not in the file; the file's 'biass' is not in the network"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    change: dict[str, torch.Tensor], drop: set[str], words: str
) -> None:
    network = nn.Linear(3, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {name: tensor for name, tensor in {**WEIGHTS, **change}.items() if name not in drop}
    with pytest.raises(ConfigurationError, match=words):
        fit(network, Weights("w.safetensors", "", tensors))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_many_faults_are_summed_up() -> None:
    network = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)))
    with pytest.raises(ConfigurationError, match="and 34 more are not in the file"):
        fit(network, Weights("w", "", {"0.weight": torch.zeros(1, 1)}))


def test_half_precision_weights_fit_a_full_precision_network() -> None:
    network = nn.Linear(3, 2)
    fit(network, Weights("w", "", {name: tensor.bfloat16() for name, tensor in WEIGHTS.items()}))
    assert network.weight.dtype == torch.float32
    assert torch.equal(network.weight, WEIGHTS["weight"])


def test_tied_weights_need_only_one_of_their_names(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(4, 3)
            self.head = nn.Linear(3, 4, bias=False)
            self.head.weight = self.table.weight

    trained, network = Tied(), Tied()
    save_model(trained, str(tmp_path / "w.safetensors"))
    fit(network, read_checkpoint(tmp_path / "w.safetensors"))
    assert torch.equal(network.head.weight, trained.table.weight)
