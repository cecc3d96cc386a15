"""Seeks the lead, keeps it, and gives it up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from services.controller.election.leadership import Election, Mandate

_LOG = logging.getLogger(__name__)


class Governor:
    """Holds the mandate for as long as the election lets it.

    Args:
        election: How the lead is won and lost.
        mandate: What everybody else looks at.
        begins: Called, in order, when this process begins to lead: what it knew as a follower is no basis.
        ends: Called, in order, when it leads no longer.
    """

    def __init__(
        self,
        election: Election,
        mandate: Mandate,
        *,
        begins: Sequence[Callable[[], None]],
        ends: Sequence[Callable[[], None]],
    ) -> None:
        self._election = election
        self._mandate = mandate
        self._begins = begins
        self._ends = ends

    async def run(self) -> None:
        """Follow and lead in turns until cancelled, then let others lead at once."""
        try:
            while True:
                epoch, until = await self._election.win()
                self._mandate.grant(epoch, until)
                _LOG.info("%s leads, epoch %d", self._mandate.me.instance, epoch)
                for begin in self._begins:
                    begin()
                why = await self._election.lose(self._mandate.extend)
                self._end(why)
        finally:
            if self._mandate.epoch is not None:
                self._end("it is ending")
            await self._election.resign()

    def _end(self, why: str) -> None:
        _LOG.warning("%s leads no longer: %s", self._mandate.me.instance, why)
        self._mandate.end(why)
        for end in self._ends:
            end()
