"""A ``Warmer`` without servers."""

from __future__ import annotations

import asyncio

from services.core.errors import PenstockError
from services.triton.warming.warmer import Warmed


class FakeWarmer:
    """Says that every version is warm.

    Attributes:
        refusals: What is raised instead, by model and version, until it is taken out.
        stuck: Models whose warm-up never ends.
        warmed: Every warm-up that was asked for, in order.
    """

    def __init__(self) -> None:
        self.refusals: dict[tuple[str, int], PenstockError] = {}
        self.stuck: set[str] = set()
        self.warmed: list[tuple[str, int]] = []

    async def warm(self, model: str, version: int) -> tuple[Warmed, ...]:
        self.warmed.append((model, version))
        if model in self.stuck:
            await asyncio.Event().wait()
        if (model, version) in self.refusals:
            raise self.refusals[model, version]
        return (Warmed("fake", 16, 0.010, 0.002, settled=True, compared=8),)
