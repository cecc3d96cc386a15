"""A ``ModelServer`` in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.core.errors import Unavailable, UpstreamFailure
from services.core.inventory import Inventory
from services.triton.model_server import NOTHING


class FakeModelServer:
    """Loads what it is told, but for versions that are broken; can be away, and can lose everything as if restarted.

    Attributes:
        broken: Reasons why versions do not load, by model and version.
        away: Whether it does not answer.
        silent: Whether it takes questions and answers none, until ``speak``.
        stuck: Models whose loads never end.
        asked: How often it was asked what is loaded.
        loads: Every load that was asked for, in order.
    """

    def __init__(self) -> None:
        self.versions: dict[str, frozenset[int]] = {}
        self.broken: dict[tuple[str, int], str] = {}
        self.away = False
        self.silent = False
        self.stuck: set[str] = set()
        self.asked = 0
        self._spoke = asyncio.Event()
        self.loads: list[tuple[str, frozenset[int]]] = []

    async def loaded(self) -> Inventory:
        self.asked += 1
        await self._answer()
        return Inventory({"fake": dict(self.versions)})

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        await self._answer()
        versions |= tolerated & self.versions.get(model, NOTHING)
        self.loads.append((model, versions))
        if model in self.stuck:
            await asyncio.Event().wait()
        await self._answer()
        for version in sorted(versions):
            if (model, version) in self.broken:
                raise UpstreamFailure(f"version {version}: {self.broken[model, version]}")
        if versions:
            self.versions[model] = versions
        else:
            self.versions.pop(model, None)

    async def unload(self, model: str) -> None:
        await self._answer()
        self.versions.pop(model, None)

    async def ready(self) -> bool:
        return not self.away and not self.silent

    def speak(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self.silent = False
        self._spoke.set()
        self._spoke = asyncio.Event()

    def restart(self) -> None:
        """Come back with nothing loaded."""
        self.versions = {}
        self.away = False

    async def _answer(self) -> None:
        while self.silent:
            await self._spoke.wait()
        if self.away:
            raise Unavailable("the fake Triton is away")


class FakeMembers:
    """The ``Members`` of a group, named ``a``, ``b`` and so on.

    Attributes:
        servers: By name; to be changed while the group looks.
    """

    def __init__(self, servers: Sequence[FakeModelServer]) -> None:
        self.servers = dict(zip("abcdefgh", servers, strict=False))

    def now(self) -> dict[str, FakeModelServer]:
        return dict(self.servers)
