"""Removes records of the audit log that are older than they are to be kept, a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from services.controller.election.leadership import Mandate
from services.controller.storage.store import AuditStore
from services.core.errors import Conflict, Unavailable
from services.core.rollouts.audit import AuditRecord, pruning_of

_LOG = logging.getLogger(__name__)
_DAY_S = 86_400


class AuditRetention:
    """Works while this process leads.

    Args:
        store: Where the records are.
        mandate: Whether this process leads.
        clock: Wall clock, seconds since the epoch.
        days: How long records are kept; None for ever.
        every_s: Time between two looks for old ones.
        pause_s: Time between two batches, in which others have the database.
        until_the_lead_s: Time between two questions whether this process leads by now.
        batch: Records that are looked at in one transaction.
    """

    def __init__(
        self,
        store: AuditStore,
        mandate: Mandate,
        clock: Callable[[], float],
        days: int | None,
        *,
        every_s: float = 600.0,
        pause_s: float = 0.1,
        until_the_lead_s: float = 5.0,
        batch: int = 500,
    ) -> None:
        self._store = store
        self._mandate = mandate
        self._clock = clock
        self._days = days
        self._every_s = every_s
        self._pause_s = pause_s
        self._until_the_lead_s = until_the_lead_s
        self._batch = batch

    async def run(self) -> None:
        """Look now and then until cancelled; return at once where everything is kept."""
        if self._days is None:
            return
        while True:
            if not self._mandate.held:
                await asyncio.sleep(self._until_the_lead_s)
                continue
            try:
                await self._prune(self._days)
            except (Unavailable, Conflict) as error:
                _LOG.warning("old audit records stay until the next look: %s", error)
            await asyncio.sleep(self._every_s)

    async def _prune(self, days: int) -> None:
        older_than = self._clock() - days * _DAY_S
        place: int | None = 0
        removed = 0
        while place is not None:
            pruned = await self._store.prune(older_than, place, self._batch, partial(self._record, days, older_than))
            place, removed = pruned.more, removed + pruned.removed
            await asyncio.sleep(self._pause_s)
        if removed:
            _LOG.info("%d audit records of more than %d days were removed", removed, days)

    def _record(self, days: int, older_than: float, removed: int) -> AuditRecord:
        return pruning_of(removed, older_than, days, self._clock(), self._mandate.me.instance)
