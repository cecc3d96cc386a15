"""A ``ModelServer`` in memory."""

from __future__ import annotations

import asyncio

from services.core.errors import Unavailable, UpstreamFailure


class FakeModelServer:
    """Loads what it is told, but for versions that are broken; can be away, and can lose everything as if restarted.

    Attributes:
        broken: Reasons why versions do not load, by model and version.
        away: Whether it does not answer.
        stuck: Models whose loads never end.
        loads: Every load that was asked for, in order.
    """

    def __init__(self) -> None:
        self.versions: dict[str, frozenset[int]] = {}
        self.broken: dict[tuple[str, int], str] = {}
        self.away = False
        self.stuck: set[str] = set()
        self.loads: list[tuple[str, frozenset[int]]] = []

    async def loaded(self) -> dict[str, frozenset[int]]:
        self._answer()
        return dict(self.versions)

    async def load(self, model: str, versions: frozenset[int]) -> None:
        self._answer()
        self.loads.append((model, versions))
        if model in self.stuck:
            await asyncio.Event().wait()
        for version in sorted(versions):
            if (model, version) in self.broken:
                raise UpstreamFailure(f"version {version}: {self.broken[model, version]}")
        if versions:
            self.versions[model] = versions
        else:
            self.versions.pop(model, None)

    async def unload(self, model: str) -> None:
        self._answer()
        self.versions.pop(model, None)

    async def ready(self) -> bool:
        return not self.away

    def restart(self) -> None:
        """Come back with nothing loaded."""
        self.versions = {}
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the fake Triton is away")
