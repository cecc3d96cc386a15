"""Loads and unloads of a Triton that is not there: they are written down, and may never end."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson


class FakeModelControl:
    """A ``ModelControl`` that always succeeds.

    Attributes:
        configs: The configuration of every load, in order.
        unloaded: Models that were unloaded.
        stuck: Whether loads never end.
    """

    def __init__(self) -> None:
        self.configs: list[dict[str, Any]] = []
        self.unloaded: list[str] = []
        self.stuck = False

    async def load(self, model: str, config: str) -> None:
        """Write a load down."""
        self.configs.append({"model": model, **orjson.loads(config)})
        if self.stuck:
            await asyncio.Event().wait()

    async def unload(self, model: str) -> None:
        """Write an unload down."""
        self.unloaded.append(model)
