"""Looks at what each tick left behind, and tells subscribers what is new. The loop does not wait for it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from services.controller.api.views import rollout_view
from services.controller.events.event_feed import EventFeed
from services.controller.events.notice import Notice, document
from services.controller.events.trend import Trend
from services.controller.ledger import Ledger
from services.controller.overview import Overview
from services.core.errors import NotFound, PenstockError
from services.core.rollouts.audit import AuditRecord
from services.core.rollouts.rollout import Rollout

_LOG = logging.getLogger(__name__)
_KEPT_TRENDS = 64


class Watch:
    """Notices and trends of this process.

    Args:
        ledger: The rollouts that are not over.
        overview: Models, and which gateways serve with which table.
        feed: Takes the notices.
        read: Reads a rollout that is over from the store.
        ticked: Returns after the loop's next tick.
        clock: Wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        overview: Overview,
        feed: EventFeed,
        read: Callable[[str], Awaitable[Rollout]],
        ticked: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._overview = overview
        self._feed = feed
        self._read = read
        self._ticked = ticked
        self._clock = clock
        self._seen: dict[str, bytes] = {}
        self._models = b""
        self._trends: OrderedDict[str, Trend] = OrderedDict()
        # Grows when a rollout begins or ends.
        self.turnover = 0

    async def run(self) -> None:
        """Look after every tick until cancelled; every stream ends with it."""
        try:
            while True:
                try:
                    await self.look()
                except PenstockError as error:
                    _LOG.warning("events wait for the next tick: %s", error)
                except Exception:  # noqa: BLE001 - logged with its traceback
                    # A mistake here must not take rollbacks down with it.
                    _LOG.exception("a tick was not told to subscribers")
                await self._ticked()
        finally:
            self._feed.close()

    async def look(self) -> None:
        """Tell what is new since the last look.

        A rollout that somebody follows and no look has shown, because it began and ended between two, is read from the
        store.

        Raises:
            Unavailable: The store does not answer how a rollout ended; the next look asks again.
        """
        now = self._clock()
        active = {rollout.id: rollout for rollout in self._ledger.active.values()}
        for rollout in active.values():
            if rollout.phase.weighted:
                self._follow(rollout, now)
            self._tell(rollout)
        models = self._told_of_all()
        if models != self._models:
            self._models = models
            self._feed.publish("models", "", models)
        unseen = [each for each in self._feed.followed if each not in self._seen and not self._feed.has_ended(each)]
        for rollout_id in [*(known for known in self._seen if known not in active), *unseen]:
            try:
                rollout = await self._read(rollout_id)
            except NotFound:
                _LOG.warning("rollout %s is no longer stored; how it ended is not known", rollout_id)
            else:
                self._tell(rollout)
                if not rollout.phase.terminal:
                    continue
            self._seen.pop(rollout_id, None)
            self.turnover += 1

    def trend(self, rollout: Rollout) -> Trend | None:
        """Return the course of a rollout's present step, or None where it was not followed."""
        trend = self._trends.get(rollout.id)
        return trend if trend is not None and trend.step == rollout.step else None

    def noted(self, record: AuditRecord) -> None:
        """Have the next look tell the state again: what somebody tried and changed nothing is shown beside it."""
        if record.rollout is None:
            self._models = b""
        elif record.rollout in self._seen:
            self._seen[record.rollout] = b""

    def present(self, rollout: Rollout) -> Notice:
        """Return a rollout's state as a notice."""
        return Notice(self._feed.last, "rollout", rollout.id, self._told(rollout), rollout.phase.terminal)

    def everything(self) -> list[Notice]:
        """Return the present state of all models and active rollouts as notices."""
        models = Notice(self._feed.last, "models", "", self._told_of_all())
        return [models, *(self.present(rollout) for rollout in self._ledger.active.values())]

    def _told(self, rollout: Rollout) -> bytes:
        return document(event_view(rollout, self._overview.serving(rollout.model)))

    def _told_of_all(self) -> bytes:
        return document({"models": self._overview.models(), "readiness": self._overview.readiness()})

    def _tell(self, rollout: Rollout) -> None:
        data = self._told(rollout)
        if rollout.id not in self._seen:
            self.turnover += 1
        if self._seen.get(rollout.id) != data:
            self._seen[rollout.id] = data
            self._feed.publish("rollout", rollout.id, data, final=rollout.phase.terminal)

    def _follow(self, rollout: Rollout, now: float) -> None:
        trend = self._trends.get(rollout.id)
        if trend is None or trend.step != rollout.step:
            trend = self._trends[rollout.id] = Trend(rollout.step)
        self._trends.move_to_end(rollout.id)
        while len(self._trends) > _KEPT_TRENDS:
            self._trends.popitem(last=False)
        trend.add(now, rollout.evidence.stable, rollout.evidence.candidate)


def event_view(rollout: Rollout, serving: dict[str, Any]) -> dict[str, Any]:
    """Return ``rollout_view`` with the gateways that follow, without specification, classes and distributions."""
    view = rollout_view(rollout)
    del view["spec"]
    for side in ("stable", "candidate"):
        del view["evidence"][side]["predictions"]
        del view["evidence"][side]["values"]
    return {**view, "serving": serving}
