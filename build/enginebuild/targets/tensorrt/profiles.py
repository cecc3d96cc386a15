"""Optimisation profiles: the shapes that an engine takes, from the recipe's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from enginebuild.recipe.recipe import Recipe
from services.core.errors import ConfigurationError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """The shapes of one input, batch first: the least, the one that the engine is tuned for, and the largest."""

    min: Shape
    opt: Shape
    max: Shape

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """All three, ascending."""
        return (self.min, self.opt, self.max)


def profiles_of(recipe: Recipe) -> dict[str, Profile]:
    """Return a profile per input: batches from 1 to the largest, tuned for the one that speed is judged at.

    Raises:
        ConfigurationError: An input has dimensions of any size, and the recipe does not bound them.
    """
    serving, bounds = recipe.serving, recipe.engine.profiles
    batches = (1, serving.measured_batch_size, serving.max_batch_size)
    found = {}
    for spec in recipe.inputs:
        dims = bounds.get(spec.name)
        if dims is None and -1 in spec.dims:
            raise ConfigurationError(
                f"input '{spec.name}' has dimensions {spec.dims}, and an engine needs bounds for those of any size: "
                f"add engine.profiles.{spec.name} with min, opt and max"
            )
        ends = (dims.min, dims.opt, dims.max) if dims is not None else (spec.dims,) * 3
        found[spec.name] = Profile(*((batch, *end) for batch, end in zip(batches, ends, strict=True)))
    return found


def as_entry(profiles: Mapping[str, Profile]) -> dict[str, tuple[Shape, ...]]:
    """Return profiles as the manifest has them."""
    return {name: profile.shapes for name, profile in profiles.items()}
