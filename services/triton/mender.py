"""Loads versions again whose process died under a Triton that lives."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.core.errors import PenstockError
from services.process.backoff import Backoff
from services.triton.model_server import ModelServer
from services.triton.stub_watch import ModelVersion, Stubs

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Case:
    """What is remembered of a version whose process died."""

    # Healthy is longer than the longest delay, which a dead process spends dead.
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=2.0, most_s=60.0, healthy_s=180.0))
    mended_at: float = float("-inf")
    not_before: float = float("-inf")


class Mender:
    """Takes a version whose process died out of Triton and puts it back, alone.

    Its other versions stay as they are. A version whose process keeps dying is put back after a growing delay, from 2 s
    to a minute; meanwhile it fails as it did, which costs nobody else anything.

    Args:
        server: Loads and unloads.
        look: Says which processes there are; may block.
        processes: How many processes a READY version must have; 0 for one that is none of its own.
        clock: Monotonic clock, seconds.
        jitter: Source of numbers from 0 to 1.
    """

    def __init__(
        self,
        server: ModelServer,
        look: Callable[[], Stubs],
        processes: Callable[[str, int], Awaitable[int]],
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._look = look
        self._processes = processes
        self._clock = clock
        self._jitter = jitter
        self._cases: dict[ModelVersion, _Case] = {}

    async def look(self) -> None:
        """Mend what died since the last look; nothing is raised when that fails, a later look tries again."""
        stubs = await asyncio.to_thread(self._look)
        if not stubs.ended:
            return
        try:
            broken = await self._broken(stubs)
        except PenstockError as error:
            _log.warning("triton: a model's process ended, and whose it was cannot be seen: %s", error)
            return
        for model in sorted({model for model, _ in broken}):
            await self._mend(model, frozenset(version for name, version in broken if name == model))

    async def _broken(self, stubs: Stubs) -> set[ModelVersion]:
        """Return the versions that are READY and lack a process.

        What ended may as well have been unloaded, even if its version is there again by now; so it is the number of the
        living that counts, and it counts twice: before and after Triton said that the version is READY.
        """
        loaded = await self._server.loaded()
        lacking: dict[ModelVersion, int] = {}
        for key in ((model, version) for model in loaded for version in loaded[model]):
            needed = await self._processes(*key)
            if stubs.living[key] < needed:
                lacking[key] = needed
        if not lacking:
            return set()
        living = (await asyncio.to_thread(self._look)).living
        return {key for key, needed in lacking.items() if living[key] < needed}

    async def _mend(self, model: str, broken: frozenset[int]) -> None:
        now = self._clock()
        due = frozenset(version for version in broken if now >= self._case(model, version).not_before)
        if not due:
            return
        for version in due:
            case = self._case(model, version)
            delay_s = case.backoff.next_delay_s(now - case.mended_at, self._jitter())
            case.mended_at, case.not_before = now, now + delay_s
        words = f"model '{model}' version {', '.join(map(str, sorted(due)))}"
        _log.error("triton: the process of %s died; loading it again", words)
        try:
            loaded = (await self._server.loaded()).everywhere(model)
            await self._server.load(model, loaded - due)
            await self._server.load(model, loaded | due)
        except PenstockError as error:
            _log.error("triton: %s not loaded again: %s", words, error)
        else:
            _log.info("triton: %s serves again", words)

    def _case(self, model: str, version: int) -> _Case:
        return self._cases.setdefault((model, version), _Case())
