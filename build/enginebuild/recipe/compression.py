"""What may be done to a network before it is converted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from enginebuild.recipe.references import FactoryRef, FunctionRef, Part

Sparsity = Literal["2:4"]


class Student(Part):
    """A smaller network that learns from the trained one: the function that makes it, and its arguments."""

    factory: FactoryRef
    kwargs: dict[str, Any] = Field(default_factory=dict)


class Compression(Part):
    """How compressed networks are trained again.

    ``fine_tune`` is called with the compressed network, the trained one and the seed; it trains the first in place, on
    training data only, and may take the second for a teacher. All random numbers are seeded for it. ``threads`` is how
    many PyTorch has meanwhile: more are faster, and another number of them gives other weights. ``builds`` is how often
    the network that is published is made, to see whether the same comes out.
    """

    fine_tune: FunctionRef
    threads: int = Field(1, ge=1, le=256)
    builds: int = Field(2, ge=1, le=10)
