"""The recipe's network, with its weights, seen as named inputs to named outputs."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enginebuild.checkpoint import Weights, fit, refuse_non_finite
from enginebuild.datatypes import Arrays, datatype_of
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.tensors import Output
from enginebuild.recipecode import RecipeCode
from services.core.errors import ConfigurationError, PenstockError


class NamedNetwork(nn.Module):
    """Takes the recipe's inputs in order, and returns its outputs in order as a tuple.

    The network inside may return one tensor, a tuple or list, or a mapping by output name.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.input_names = [tensor.name for tensor in recipe.inputs]
        self.outputs = recipe.outputs
        self.output_names = [tensor.name for tensor in recipe.outputs]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Raises:
            ConfigurationError: It returned other outputs than the recipe declares.
        """
        return self._ordered(self.network(*inputs))

    def _ordered(self, found: Any) -> tuple[Tensor, ...]:
        if isinstance(found, Mapping):
            if absent := [name for name in self.output_names if name not in found]:
                raise ConfigurationError(
                    f"the network returns no output '{absent[0]}'; it returns {', '.join(map(str, found))}"
                )
            found = [found[name] for name in self.output_names]
        outputs = tuple(found) if isinstance(found, tuple | list) else (found,)
        if len(outputs) != len(self.output_names):
            raise ConfigurationError(
                f"the network returns {len(outputs)} outputs, the recipe declares {', '.join(self.output_names)}"
            )
        for name, output in zip(self.output_names, outputs, strict=True):
            if not isinstance(output, Tensor):
                raise ConfigurationError(f"the network's output '{name}' is a {type(output).__name__}, not a tensor")
        return outputs

    def run(self, inputs: Arrays, batch_size: int) -> Arrays:
        """Return the outputs for all samples, computed ``batch_size`` at a time.

        Raises:
            ConfigurationError: The network cannot take these inputs.
        """
        columns = [torch.tensor(inputs[name]) for name in self.input_names]
        samples = len(columns[0])
        try:
            with torch.inference_mode():
                parts = [
                    self(*(column[start : start + batch_size] for column in columns))
                    for start in range(0, samples, batch_size)
                ]
        except PenstockError:
            raise
        except Exception as error:  # the recipe's own code may raise anything
            shapes = ", ".join(f"{name} {list(inputs[name].shape[1:])}" for name in self.input_names)
            raise ConfigurationError(
                f"the network fails on the recipe's data ({shapes} per sample): {type(error).__name__}: {error}"
            ) from error
        outputs = {name: torch.cat([part[i] for part in parts]).numpy() for i, name in enumerate(self.output_names)}
        check_outputs("the network", self.outputs, outputs, samples)
        return outputs

    @property
    def parameters_count(self) -> int:
        """Number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())


def check_outputs(who: str, specs: Sequence[Output], outputs: Arrays, samples: int) -> None:
    """Hold outputs against the recipe: datatype, one row per sample, dimensions.

    Raises:
        ConfigurationError: An output differs from what the recipe declares.
    """
    for spec in specs:
        array = outputs[spec.name]
        fits = (
            datatype_of(array) == spec.datatype
            and array.ndim == len(spec.dims) + 1
            and len(array) == samples
            and all(dim in (-1, size) for dim, size in zip(spec.dims, array.shape[1:], strict=True))
        )
        if not fits:
            raise ConfigurationError(
                f"{who} gives output '{spec.name}' as {datatype_of(array)} {list(array.shape)} for {samples} samples; "
                f"the recipe says {spec.datatype} {[samples, *spec.dims]}"
            )


def load_network(recipe: Recipe, code: RecipeCode, weights: Weights) -> NamedNetwork:
    """Make the recipe's network, in evaluation mode, with the weights.

    Raises:
        ConfigurationError: The factory fails or gives no network, or the weights do not fit it.
    """
    if recipe.network.factory is None:
        raise ConfigurationError("network.factory is missing")
    torch.manual_seed(recipe.seed)
    network = code.function(recipe.network.factory)(**recipe.network.kwargs)
    if not isinstance(network, nn.Module):
        raise ConfigurationError(
            f"'{recipe.network.factory}' returns a {type(network).__name__}, expected a torch.nn.Module"
        )
    fit(network, weights)
    return NamedNetwork(network, recipe).eval()


def load_exported(recipe: Recipe, path: Path) -> tuple[NamedNetwork, Weights]:
    """Read what ``torch.export.save`` wrote: the network and its weights in one file.

    PyTorch's reader can run code that the file holds: only for files that are trusted as the recipe's own code is.

    Raises:
        ConfigurationError: It is missing, damaged or no exported program, or a weight is no number.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"network.exported: {path} cannot be read ({error.strerror})") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on the age of the archive's form
            program = torch.export.load(io.BytesIO(data))
    except Exception as error:  # a damaged archive makes the reader fail in any way
        raise ConfigurationError(
            f"network.exported: {path} is no exported program ({type(error).__name__}: {error}); write it with "
            "torch.export.save(torch.export.export(network, example, dynamic_shapes=...), file)"
        ) from error
    weights = Weights(path.name, hashlib.sha256(data).hexdigest(), dict(program.state_dict))
    refuse_non_finite(path, weights.tensors)
    return NamedNetwork(program.module(), recipe), weights
