"""Loads versions again whose process died under a Triton that lives."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from services.core.errors import PenstockError
from services.process.backoff import Backoff
from services.triton.model_server import ModelServer
from services.triton.stub_watch import ModelVersion

_log = logging.getLogger(__name__)


class ModelProcesses(Protocol):
    """The processes of Python-based models. Adapter: ``StubWatch``."""

    living: frozenset[ModelVersion]
    strangers: int

    def dead(self) -> frozenset[ModelVersion]:
        """Look now, and return the versions of which a process died and was not collected."""
        ...


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
        processes: Says what died.
        runs_as_process: Whether the versions of a model are processes of their own.
        clock: Monotonic clock, seconds.
        jitter: Source of numbers from 0 to 1.
    """

    def __init__(
        self,
        server: ModelServer,
        processes: ModelProcesses,
        runs_as_process: Callable[[str], bool],
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._processes = processes
        self._runs_as_process = runs_as_process
        self._clock = clock
        self._jitter = jitter
        self._cases: dict[ModelVersion, _Case] = {}

    async def look(self) -> None:
        """Mend what died since the last look; nothing is raised when that fails, the next look tries again."""
        dead = await asyncio.to_thread(self._processes.dead)
        if not dead and not self._processes.strangers:
            return
        try:
            loaded = await self._server.loaded()
        except PenstockError as error:
            _log.warning("triton: a model's process died, and what is loaded cannot be seen: %s", error)
            return
        if self._processes.strangers:
            dead |= self._without_process((model, version) for model in loaded for version in loaded[model])
        # While Triton unloads a version its process is dead too, for a moment; the version is not READY then.
        for model in sorted({model for model, version in dead if version in loaded.everywhere(model)}):
            versions = loaded.everywhere(model)
            await self._mend(model, versions, frozenset(version for version in versions if (model, version) in dead))

    def _without_process(self, loaded: Iterable[ModelVersion]) -> frozenset[ModelVersion]:
        return frozenset(
            (model, version)
            for model, version in loaded
            if (model, version) not in self._processes.living and self._runs_as_process(model)
        )

    async def _mend(self, model: str, loaded: frozenset[int], dead: frozenset[int]) -> None:
        now = self._clock()
        due = frozenset(version for version in dead if now >= self._case(model, version).not_before)
        if not due:
            return
        for version in due:
            case = self._case(model, version)
            delay_s = case.backoff.next_delay_s(now - case.mended_at, self._jitter())
            case.mended_at, case.not_before = now, now + delay_s
        words = f"model '{model}' version {', '.join(map(str, sorted(due)))}"
        _log.error("triton: the process of %s died; loading it again", words)
        try:
            await self._server.load(model, loaded - due)
            await self._server.load(model, loaded)
        except PenstockError as error:
            _log.error("triton: %s not loaded again: %s", words, error)
        else:
            _log.info("triton: %s serves again", words)

    def _case(self, model: str, version: int) -> _Case:
        return self._cases.setdefault((model, version), _Case())
