"""Trained weights: read without running anything that is in the file, and fitted to the network key by key."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from services.core.errors import ConfigurationError

_PICKLED = {".pt", ".pth", ".bin", ".ckpt"}
_NESTED_UNDER = ("state_dict", "model_state_dict", "model")  # how training frameworks wrap the weights
_NAMED = 5  # names in one message


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors by name, with the name and the SHA-256 of the file that held them."""

    file: str
    sha256: str
    tensors: Mapping[str, Tensor]


def read_checkpoint(path: Path) -> Weights:
    """Read a safetensors file, or a PyTorch file that holds tensors and nothing else.

    Raises:
        ConfigurationError: The file is missing, damaged, of an unknown kind, would run code, or holds a NaN.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"checkpoint {path}: cannot be read ({error.strerror})") from error
    if path.suffix == ".safetensors":
        tensors = _safetensors(path, data)
    elif path.suffix in _PICKLED:
        tensors = _pickled(path, data)
    else:
        raise ConfigurationError(
            f"checkpoint {path}: '{path.suffix}' is no known kind; "
            f"expected .safetensors or {', '.join(sorted(_PICKLED))}"
        )
    if not tensors:
        raise ConfigurationError(f"checkpoint {path}: holds no tensor")
    refuse_non_finite(path, tensors)
    return Weights(path.name, hashlib.sha256(data).hexdigest(), tensors)


def _safetensors(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return dict(sorted(load_safetensors(data).items()))  # the library gives them in another order each time
    except SafetensorError as error:
        raise ConfigurationError(f"checkpoint {path}: not a whole safetensors file ({error})") from error


def _pickled(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on the age of the pickle's protocol
            # Never weights_only=False: it runs what the file says.
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigurationError(
            f"checkpoint {path}: holds more than tensors, and unpickling it could run code; it was not opened. "
            "Save the weights alone: safetensors.torch.save_file(network.state_dict(), 'checkpoint.safetensors')"
        ) from error
    except Exception as error:  # a damaged file makes the unpickler fail in any way
        raise ConfigurationError(f"checkpoint {path}: not a whole PyTorch file ({_first_line(error)})") from error
    for key in _NESTED_UNDER:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise ConfigurationError(f"checkpoint {path}: holds a {type(loaded).__name__}, expected a state_dict")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ConfigurationError(
                f"checkpoint {path}: '{name}' is a {type(value).__name__}; expected a state_dict of tensors"
            )
    return dict(loaded)


def refuse_non_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no numbers.

    Raises:
        ConfigurationError: One holds a NaN or an infinity; names it.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            bad = int((~torch.isfinite(tensor.float())).sum())
            if bad:
                raise ConfigurationError(
                    f"checkpoint {path}: '{name}' holds {bad} NaN or infinite of {tensor.numel()} values; "
                    "the training diverged or the file is damaged"
                )


def fit(network: nn.Module, weights: Weights) -> None:
    """Copy the weights into a network of exactly their names and shapes.

    Raises:
        ConfigurationError: A key is missing or unexpected, or a shape or kind of number differs; names the first few.
    """
    own: dict[str, Tensor] = network.state_dict()
    given = {_memory(own[name]) for name in weights.tensors if name in own}
    missing = [name for name in own if name not in weights.tensors and _memory(own[name]) not in given]
    unexpected = [name for name in weights.tensors if name not in own]
    faults = []
    if missing:
        faults.append(f"the network's {_names(missing)} not in the file")
    if unexpected:
        faults.append(f"the file's {_names(unexpected)} not in the network")
    for name, tensor in weights.tensors.items():
        if name in own and tensor.shape != own[name].shape:
            faults.append(f"'{name}' is {list(tensor.shape)}, the network has {list(own[name].shape)}")
        elif name in own and tensor.is_floating_point() != own[name].is_floating_point():
            faults.append(f"'{name}' is {tensor.dtype}, the network has {own[name].dtype}")
    if faults:
        shown = "; ".join(faults[:_NAMED]) + ("; ..." if len(faults) > _NAMED else "")
        raise ConfigurationError(f"checkpoint '{weights.file}' does not fit the network: {shown}")
    with torch.no_grad():
        for name, tensor in weights.tensors.items():
            own[name].copy_(tensor)


def _memory(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return what tied weights have in common: one memory under several names; safetensors keeps one of them."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more are" if len(names) > _NAMED else " are" if len(names) > 1 else " is"
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
