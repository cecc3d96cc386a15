"""What a person can do to rollouts, whatever the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.controller.ledger import Ledger
from services.controller.loader import Loader
from services.controller.measuring import Measuring
from services.controller.published import Published
from services.controller.store import Store
from services.core.actions import SetRoute, actions_of
from services.core.errors import Conflict, InvalidRequest, NotFound
from services.core.event import Event
from services.core.history import HistoryEntry, beginning, entry_of
from services.core.rollout import Rollout, new_rollout
from services.core.rollout_spec import RolloutSpec
from services.core.transitions import advance


class Operations:
    """Start, steer and read rollouts.

    Args:
        ledger: The stored state; written under its lock.
        store: Read directly for rollouts that are over, and for history.
        measuring: Whether there is a source of custom metrics.
        loader: Told to forget old failures when a rollout begins.
        published: The model repository.
        wake: Called after every change: the loop shall not wait for its next tick.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: Store,
        loader: Loader,
        measuring: Measuring,
        published: Published,
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._loader = loader
        self._measuring = measuring
        self._published = published
        self._wake = wake
        self._clock = clock

    async def start(self, spec: RolloutSpec, actor: str) -> Rollout:
        """Begin a rollout.

        Raises:
            NotFound: The model is not served, or the version is not published.
            InvalidRequest: The candidate is the stable version, or there is no source for its metrics.
            Conflict: The model has a rollout that is not over.
            Unavailable: The database does not answer.
        """
        published = await asyncio.to_thread(self._versions, spec.model)
        async with self._ledger.lock:
            await self._ledger.refresh()
            stable = self._check(spec, published)
            self._loader.forget(spec.model)
            rollout = new_rollout(spec, stable, self._clock())
            created = await self._ledger.create(rollout, beginning(rollout, actor))
        self._wake()
        return created

    async def steer(self, rollout_id: str, event: Event) -> Rollout:
        """Apply a person's verb.

        Raises:
            NotFound: There is no such rollout.
            Conflict: Its phase does not allow the verb, or somebody else changed it at the same time.
            Unavailable: The database does not answer.
        """
        async with self._ledger.lock:
            await self._ledger.refresh()
            before = await self._store.get(rollout_id)
            now = self._clock()
            after, _ = advance(before, event, now)
            saved = await self._ledger.save(after, entry_of(before, after, event, now))
            # The route changes at once; versions are loaded and unloaded by the loop.
            for action in actions_of(saved):
                if isinstance(action, SetRoute):
                    await self._ledger.set_route(action.route)
        self._wake()
        return saved

    async def get(self, rollout_id: str) -> Rollout:
        """Return one rollout; errors as in ``RolloutStore.get``."""
        return await self._store.get(rollout_id)

    async def find(self, model: str | None, *, active: bool, limit: int) -> list[Rollout]:
        """Return the latest rollouts first; errors as in ``RolloutStore.find``."""
        return await self._store.find(model, active=active, limit=limit)

    async def history(self, rollout_id: str) -> list[HistoryEntry]:
        """Return a rollout's history, oldest line first; errors as in ``HistoryStore.history``."""
        return await self._store.history(rollout_id)

    def _versions(self, model: str) -> list[int]:
        """Return what is published now, not at the last tick: a rollout may follow a build at once."""
        try:
            return self._published.versions(model)
        except NotFound:
            return []

    def _check(self, spec: RolloutSpec, published: list[int]) -> int:
        """Return the stable version that a candidate is to replace, if it may."""
        if spec.metrics and not self._measuring.possible:
            raise InvalidRequest(
                f"metric '{spec.metrics[0].name}' is asked for and nobody said where metrics are; set "
                "controller.prometheus_url (PENSTOCK_CONTROLLER__PROMETHEUS_URL) to a Prometheus"
            )
        route = self._ledger.routes.get(spec.model)
        if route is None:
            served = ", ".join(sorted(self._ledger.routes)) or "none"
            raise NotFound(f"model '{spec.model}' is not served; served models: {served}")
        active = self._ledger.active.get(spec.model)
        if active is not None:
            raise Conflict(f"model '{spec.model}' has rollout {active.id} under way; abort it or wait until it is over")
        if spec.version == route.stable:
            raise InvalidRequest(
                f"version {spec.version} of '{spec.model}' is the stable one already; name another version"
            )
        if spec.version not in published:
            found = ", ".join(map(str, published)) or "none"
            raise NotFound(f"model '{spec.model}' has no published version {spec.version}; published: {found}")
        return route.stable
