"""What a person can do to rollouts, whatever the protocol; every attempt is in the audit log, refused or not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.controller.election.leadership import Mandate
from services.controller.eligibility import Eligibility
from services.controller.ledger import Ledger
from services.controller.storage.store import AuditPage, AuditQuery, Store
from services.controller.versions.loader import Loader
from services.controller.webhooks.delivery import Undelivered
from services.core.errors import Conflict, InvalidRequest, PenstockError, Unavailable
from services.core.rollouts.actions import SetRoute, actions_of
from services.core.rollouts.audit import AuditOutcome, AuditRecord, standing_of
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.history import HistoryEntry, beginning, entry_of
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec
from services.core.rollouts.transitions import advance

_LOG = logging.getLogger(__name__)
_START = "start"
# The phases in which a verb has been obeyed already.
_OBEYED: dict[EventKind, frozenset[Phase]] = {
    EventKind.PAUSE: frozenset({Phase.PAUSED}),
    EventKind.RESUME: frozenset({Phase.PROGRESSING}),
    EventKind.PROMOTE: frozenset({Phase.PROMOTING, Phase.PROMOTED}),
    EventKind.ABORT: frozenset({Phase.ABORTING, Phase.ABORTED}),
}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What somebody asks for."""

    actor: str
    action: str
    model: str
    rollout: str | None
    reason: str
    request_id: str


class Operations:
    """Start, steer and read rollouts.

    Args:
        ledger: The stored state; written under its lock.
        store: Read directly for rollouts that are over, for history and for the audit log.
        loader: Told to forget old failures when a rollout begins.
        eligibility: Says which rollouts can be done at all.
        wake: Called after every change: the loop shall not wait for its next tick.
        clock: Wall clock, seconds since the epoch.
        mandate: Whether this process leads; one that does not changes nothing.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: Store,
        loader: Loader,
        eligibility: Eligibility,
        wake: Callable[[], None],
        clock: Callable[[], float],
        mandate: Mandate,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._loader = loader
        self._eligibility = eligibility
        self._wake = wake
        self._clock = clock
        self._mandate = mandate
        self._listeners: list[Callable[[AuditRecord], None]] = []

    def on_note(self, listener: Callable[[AuditRecord], None]) -> None:
        """Call ``listener`` with every record of an attempt that changed nothing, once it is stored."""
        self._listeners.append(listener)

    async def start(self, spec: RolloutSpec, actor: str, request_id: str = "") -> Rollout:
        """Begin a rollout, or return the one that the same request began.

        Raises:
            NotFound: The model is not served, or the version is not published.
            InvalidRequest: The candidate is the stable version, there is no source for its metrics, a webhook's host is
                not allowed, or the request's id was used for something else.
            Conflict: The model has a rollout that is not over.
            Unavailable: The database or the repository does not answer, or this controller does not lead.
        """
        attempt = _Attempt(actor, _START, spec.model, None, f"version {spec.version}", request_id)
        try:
            published = await self._eligibility.published(spec.model)
            async with self._ledger.lock:
                await self._read_as_leader()
                if (done := await self._done_before(attempt)) is not None:
                    if done.spec != spec:
                        raise _reused(request_id, done.id)
                    return done
                self._expect_none_under_way(spec.model)
                stable = self._eligibility.stable_for(spec, published)
                self._loader.forget(spec.model)
                rollout = new_rollout(spec, stable, self._clock())
                created = await self._ledger.create(rollout, beginning(rollout, actor), request_id)
        except PenstockError as error:
            await self._note(attempt, AuditOutcome.REFUSED, None, error)
            raise
        self._wake()
        return created

    async def steer(self, rollout_id: str, event: Event, request_id: str = "") -> Rollout:
        """Apply a person's verb, unless it has been obeyed already.

        Raises:
            NotFound: There is no such rollout.
            InvalidRequest: The request's id was used for something else.
            Conflict: Its phase does not allow the verb, or somebody else changed it at the same time.
            Unavailable: The database does not answer, or this controller does not lead.
        """
        model = rollout_id.rpartition("-")[0]
        attempt = _Attempt(event.actor, event.kind.value, model, rollout_id, event.reason, request_id)
        before: Rollout | None = None
        async with self._ledger.lock:
            try:
                await self._read_as_leader()
                if (done := await self._done_before(attempt)) is not None:
                    return done
                before = await self._store.get(rollout_id)
                if before.phase in _OBEYED[event.kind]:
                    await self._note(attempt, AuditOutcome.REPEATED, before)
                    return before
                now = self._clock()
                after, _ = advance(before, event, now)
                saved = await self._ledger.save(before, after, entry_of(before, after, event, now), request_id)
            except PenstockError as error:
                await self._note(attempt, AuditOutcome.REFUSED, before, error)
                raise
            # The route changes at once; versions are loaded and unloaded by the loop.
            for action in actions_of(saved):
                if isinstance(action, SetRoute):
                    await self._ledger.set_route(action.route, saved.reason, saved.id)
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

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Return who did what, the latest first; errors as in ``AuditStore.audit``."""
        return await self._store.audit(query)

    async def undelivered(self, rollout: Rollout) -> list[Undelivered]:
        """Return what a rollout's webhooks were not told; errors as in ``OutboxStore.undelivered``."""
        return await self._store.undelivered(rollout.id) if rollout.spec.webhooks else []

    async def _read_as_leader(self) -> None:
        self._mandate.require()
        await self._ledger.refresh()

    async def _done_before(self, attempt: _Attempt) -> Rollout | None:
        """Return the rollout as it is now if this very request was done before.

        Raises:
            InvalidRequest: Something else was done under its id.
        """
        if not attempt.request_id:
            return None
        record = await self._store.done_by(attempt.request_id)
        if record is None:
            return None
        same = (record.action, record.model) == (attempt.action, attempt.model)
        if not same or record.rollout is None or attempt.rollout not in {None, record.rollout}:
            raise _reused(attempt.request_id, record.rollout or record.model)
        found = await self._store.get(record.rollout)
        await self._note(replace(attempt, rollout=found.id), AuditOutcome.REPEATED, found)
        return found

    async def _note(
        self, attempt: _Attempt, outcome: AuditOutcome, found: Rollout | None, error: PenstockError | None = None
    ) -> None:
        """Add to the audit log what changed nothing; a database that does not take it hides no refusal."""
        record = AuditRecord(
            at=self._clock(),
            actor=attempt.actor,
            action=attempt.action,
            model=attempt.model,
            rollout=attempt.rollout,
            outcome=outcome,
            source=None if found is None else standing_of(found),
            target=None,
            reason=attempt.reason if error is None else error.message,
            instance=self._mandate.me.instance,
            request_id=attempt.request_id,
        )
        try:
            await self._store.note(record)
        except Unavailable as away:
            _LOG.warning("not in the audit log (%s): %s", away, record)
            return
        for listener in self._listeners:
            listener(record)

    def _expect_none_under_way(self, model: str) -> None:
        active = self._ledger.active.get(model)
        if active is not None:
            raise Conflict(f"model '{model}' has rollout {active.id} under way; abort it or wait until it is over")


def _reused(request_id: str, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"request '{request_id}' was done before, and did something else to {what}; give every request an id of its own"
    )
