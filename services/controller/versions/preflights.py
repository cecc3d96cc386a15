"""Finds out in the background whether there is room for a rollout's versions, before anything is loaded for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial

from services.controller.background import BackgroundOwner
from services.controller.versions.repository_reads import RepositoryReads, RepositorySilent
from services.core.errors import PenstockError
from services.core.memory.preflight import Need, Preflight, preflight
from services.core.rollouts.rollout import Rollout
from services.triton.memory.source import MemorySource, reports_in_time

_LOG = logging.getLogger(__name__)

NeedOf = Callable[[str, int, tuple[int, ...]], Need]
"""What a model's versions need: model, stable, candidate and arms. May read files; raises what is wrong with them."""


class Preflights(BackgroundOwner[str]):
    """Used as a context: what is under way is cancelled at its end.

    Args:
        source: Where memory is known.
        need_of: What a candidate and further arms need.
        reads: Reads of the repository that this makes.
    """

    def __init__(self, source: MemorySource, need_of: NeedOf, reads: RepositoryReads) -> None:
        super().__init__()
        self._source, self._need_of, self._reads = source, need_of, reads
        self._results: dict[str, Preflight] = {}

    def ensure(self, rollout: Rollout) -> None:
        """Begin a rollout's pre-flight, unless it is under way or has ended; without the repository it has no end."""
        if rollout.id not in self._running and rollout.id not in self._results:
            self._running.begin(rollout.id, self._look(rollout), f"pre-flight of {rollout.id}")

    def result(self, rollout: Rollout) -> Preflight | None:
        """Return how a rollout's pre-flight ended; None before its end."""
        return self._results.get(rollout.id)

    def keep(self, rollouts: Collection[str]) -> None:
        """Drop what is known of every rollout but these, and end what is under way for others."""
        self._running.keep(lambda rollout: rollout in rollouts)
        self._results = {rollout: found for rollout, found in self._results.items() if rollout in rollouts}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget how the others ended."""
        self._running.cancel_all()
        self._results.clear()

    async def _look(self, rollout: Rollout) -> None:
        terms = rollout.spec.memory
        work = partial(self._need_of, rollout.model, rollout.stable, rollout.challengers)
        try:
            found = preflight(await self._reads.read(work), terms, await reports_in_time(self._source))
        except RepositorySilent as error:
            _LOG.warning("the pre-flight of rollout %s is tried again: %s", rollout.id, error)
            return
        except PenstockError as error:
            # The load itself meets the same fault and says so as its own.
            found = Preflight(True, f"memory not looked at: {error.message}")
        _LOG.info("rollout %s: %s", rollout.id, found.text)
        self._results[rollout.id] = found
