"""A variant's own network: made from the trained one, and fine-tuned by the recipe's function."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from enginebuild.compress.prune import prune
from enginebuild.compress.quantization_aware import rounding
from enginebuild.compress.reproducible import reproducible, seed_all
from enginebuild.compress.sparsity import two_of_four
from enginebuild.datatypes import Arrays
from enginebuild.network import NamedNetwork
from enginebuild.recipe.compression import Student
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import Variant
from enginebuild.recipecode import RecipeCode
from enginebuild.runtime import repeat_to
from services.core.errors import BuildFailed, ConfigurationError

# Some layers (batch normalisation, in training) refuse a single sample.
_EXAMPLE_BATCH = 2


class Compressor:
    """Makes the networks of a recipe's variants.

    Args:
        recipe: What is wanted.
        code: The recipe's own code, which makes students and fine-tunes.
        trained: The trained network.
        samples: Inputs to trace it with.
        say: Tells a person what is under way.
    """

    def __init__(
        self, recipe: Recipe, code: RecipeCode, trained: NamedNetwork, samples: Arrays, say: Callable[[str], None]
    ) -> None:
        self._recipe, self._code, self._trained, self._say = recipe, code, trained, say
        inputs = repeat_to(samples, _EXAMPLE_BATCH)
        self._example: list[Tensor] = [torch.tensor(inputs[name]) for name in trained.input_names]

    def compressed(self, variant: Variant) -> NamedNetwork:
        """Return a variant's network, in evaluation mode; the trained one stays as it is.

        Raises:
            BuildFailed: A technique does not fit the network, or the fine-tuning failed or gave no numbers.
        """
        recipe, compression = self._recipe, self._recipe.compression
        if compression is None:
            raise BuildFailed(f"{variant.name} changes the network, which needs compression.fine_tune")
        self._say(f"{variant.name}: {', '.join(variant.techniques)}")
        teacher = copy.deepcopy(self._trained.network).eval().requires_grad_(requires_grad=False)
        with ExitStack() as during:
            during.enter_context(reproducible(recipe.seed, compression.threads))
            network = self._student(variant.student) if variant.student else copy.deepcopy(self._trained.network)
            if variant.prune is not None:
                network = prune(network.eval(), self._example, variant.prune)
            if variant.sparsity is not None:
                during.enter_context(two_of_four(network))
            if variant.quantization_aware:
                during.enter_context(rounding(network))
            self._fine_tune(compression.fine_tune, network, teacher)
        self._refuse_no_numbers(variant, network)
        return NamedNetwork(network, recipe).eval()

    def _student(self, student: Student) -> nn.Module:
        network = self._code.function(student.factory)(**student.kwargs)
        if not isinstance(network, nn.Module):
            raise BuildFailed(f"'{student.factory}' returns a {type(network).__name__}, expected a torch.nn.Module")
        return network

    def _fine_tune(self, function: str, network: nn.Module, teacher: nn.Module) -> None:
        seed_all(self._recipe.seed)  # whatever was drawn before
        try:
            self._code.function(function)(network.train(), teacher, self._recipe.seed)
        except ConfigurationError as error:
            raise BuildFailed(error.message) from error

    def _refuse_no_numbers(self, variant: Variant, network: nn.Module) -> None:
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise BuildFailed(
                    f"the fine-tuning of {variant.name} left no numbers in '{name}'; a lower learning rate?"
                )
