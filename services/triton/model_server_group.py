"""Several Tritons that serve the same models, as one ``ModelServer``.

A replica that is away neither holds up nor vetoes anything: it is asked beside the others until it answers, and then
lacks what it lacks, which whoever looks at ``loaded`` sees and loads again. What a replica has already is not touched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from services.core.errors import (
    ConfigurationError,
    DeadlineExceeded,
    IntegrityError,
    NotFound,
    PenstockError,
    Unavailable,
    UpstreamFailure,
)
from services.core.inventory import Inventory
from services.triton.model_server import NOTHING, ModelServer

_log = logging.getLogger(__name__)
# How long a look waits for a replica that did not answer the last one: enough for one that is back.
_AWAY_WAIT_S = 0.1
_REFUSALS = (UpstreamFailure, NotFound, ConfigurationError, IntegrityError)


class Members(Protocol):
    """Who is in the group. Adapter: ``TritonMembers``."""

    def now(self) -> Mapping[str, ModelServer]:
        """Return the replicas of this moment by name (HOST:PORT); the same object for the same replica."""
        ...


class ModelServerGroup:
    """The ``ModelServer`` that is a group of them.

    ``loaded`` is what is READY on every replica that answers. One that stops answering counts as it was last seen for
    ``patience_s``, so that one missed answer does not make a version look READY everywhere.

    ``load`` brings each replica that answers to the versions, all at once; but a version that is READY nowhere yet is
    loaded on one replica first: if it takes that one down, the others go on.

    Args:
        members: The replicas.
        look_timeout_s: How long a replica may take to say what it has.
        patience_s: Silence after which a replica is away, also in the middle of a load.
        clock: Monotonic clock, seconds.
    """

    def __init__(
        self,
        members: Members,
        *,
        look_timeout_s: float = 1.0,
        patience_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = members
        self._look_timeout_s = look_timeout_s
        self._patience_s = patience_s
        self._clock = clock
        self._replicas: dict[str, _Replica] = {}

    async def loaded(self) -> Inventory:
        """Return what is READY on every replica that can be reached."""
        replicas, now = await self._looked_at(), self._clock()
        counted = [one for one in replicas if one.problem is None or now - one.seen_at < self._patience_s]
        return Inventory(
            {replica.name: replica.seen for replica in counted},
            {replica.name: replica.problem for replica in replicas if replica.problem is not None},
        )

    async def load(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        """Bring every replica that can be reached to these versions."""
        reached = [replica for replica in await self._looked_at() if replica.problem is None]
        lacking = [one for one in reached if not versions <= one.has(model) <= versions | tolerated]

        async def load(replica: _Replica) -> None:
            await self._while_it_answers(replica, replica.server.load(model, versions, tolerated))

        if not versions <= NOTHING.union(*(one.has(model) for one in reached)):
            await self._on_each(lacking[:1], load)
            lacking = lacking[1:]
        await self._on_each(lacking, load)

    async def unload(self, model: str) -> None:
        """Unload a model from every replica that can be reached."""

        async def unload(replica: _Replica) -> None:
            await self._while_it_answers(replica, replica.server.unload(model))

        await self._on_each([one for one in await self._looked_at() if one.problem is None], unload)

    async def ready(self) -> bool:
        """Whether any replica is ready."""
        return any(await asyncio.gather(*(replica.server.ready() for replica in await self._present())))

    async def aclose(self) -> None:
        """End every question that is still under way."""
        await asyncio.gather(*(replica.aclose() for replica in self._replicas.values()))
        self._replicas.clear()

    async def _present(self) -> list[_Replica]:
        members = self._members.now()
        gone = [one for one in self._replicas.values() if members.get(one.name) is not one.server]
        for replica in gone:
            del self._replicas[replica.name]
        for name, server in members.items():
            self._replicas.setdefault(name, _Replica(name, server))
        present = [self._replicas[name] for name in members]
        await asyncio.gather(*(replica.aclose() for replica in gone))
        return present

    async def _looked_at(self) -> list[_Replica]:
        """Ask every replica what it has; at least one answered."""
        replicas, now = await self._present(), self._clock()
        await asyncio.gather(*(replica.look(now, self._look_timeout_s) for replica in replicas))
        if all(replica.problem is not None for replica in replicas):
            raise Unavailable(_told({one.name: one.problem or "" for one in replicas}) or "no Triton is known yet")
        return replicas

    async def _while_it_answers(self, replica: _Replica, work: Coroutine[Any, Any, None]) -> None:
        """Wait for a change of one replica, but not longer than it shows that it lives."""
        task = asyncio.create_task(work)
        heard = self._clock()
        try:
            while not (await asyncio.wait({task}, timeout=self._look_timeout_s))[0]:
                if await replica.server.ready():
                    heard = self._clock()
                elif self._clock() - heard >= self._patience_s:
                    raise Unavailable(f"it stopped answering in the middle of a load, {self._patience_s:g} s ago")
            await task
        finally:
            await _end(task)

    async def _on_each(self, replicas: list[_Replica], change: Callable[[_Replica], Coroutine[Any, Any, None]]) -> None:
        """Change replicas at once, wait for all, then raise what went wrong, with the names."""
        results = await asyncio.gather(*(change(replica) for replica in replicas), return_exceptions=True)
        failures: dict[str, PenstockError] = {}
        for replica, result in zip(replicas, results, strict=True):
            if isinstance(result, PenstockError):
                failures[replica.name] = result
            elif result is not None:
                raise result
        if failures:
            alone = len(self._replicas) == 1
            words = {name: error.message for name, error in failures.items()}
            raise _kind_of(list(failures.values()))(next(iter(words.values())) if alone else _told(words))


class _Replica:
    """One member: what it had when it was last looked at.

    Attributes:
        seen: READY versions by model.
        seen_at: When that was.
        problem: Why it did not answer the last look; None when it did.
    """

    def __init__(self, name: str, server: ModelServer) -> None:
        self.name = name
        self.server = server
        self.seen: Mapping[str, frozenset[int]] = {}
        self.seen_at = float("-inf")
        self.problem: str | None = None
        self._asking: asyncio.Task[Inventory] | None = None

    async def look(self, now: float, timeout_s: float) -> None:
        """Ask what is READY; the question to a replica that is away goes on between looks, and stalls none."""
        asked_before = self._asking is not None
        task = self._asking = self._asking or asyncio.create_task(self.server.loaded(), name=f"look at {self.name}")
        bound_s = timeout_s if self.problem is None else min(timeout_s, _AWAY_WAIT_S)
        done, _ = await asyncio.wait({task}, timeout=bound_s)
        if not done:
            self._missed(f"no answer within {timeout_s:g} s")
            return
        self._asking = None
        error = task.exception()
        if isinstance(error, PenstockError):
            self._missed(error.message)
        elif error is not None:
            raise error
        elif asked_before:
            # It answers again, but of an earlier moment.
            self._heard()
            await self.look(now, timeout_s)
        else:
            self._heard()
            self.seen, self.seen_at = task.result(), now

    def has(self, model: str) -> frozenset[int]:
        """Return the versions of a model that were READY."""
        return self.seen.get(model, NOTHING)

    async def aclose(self) -> None:
        """End the question that is under way."""
        if self._asking is not None:
            await _end(self._asking)

    def _heard(self) -> None:
        if self.problem is not None:
            _log.info("Triton %s answers again", self.name)
        self.problem = None

    def _missed(self, problem: str) -> None:
        if self.problem is None:
            _log.warning("Triton %s is away: %s", self.name, problem)
        self.problem = problem


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _kind_of(failures: list[PenstockError]) -> type[PenstockError]:
    """Return the class of what is raised for several failures: a refusal is final, everything else may pass."""
    for kind in _REFUSALS:
        if any(isinstance(failure, kind) for failure in failures):
            return kind
    late = all(isinstance(failure, DeadlineExceeded) for failure in failures)
    return DeadlineExceeded if late else Unavailable


def _told(words: Mapping[str, str]) -> str:
    """Say which replicas said what, those that said the same in one breath."""
    by_words: dict[str, list[str]] = {}
    for name, said in words.items():
        by_words.setdefault(said, []).append(name)
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in by_words.items())
