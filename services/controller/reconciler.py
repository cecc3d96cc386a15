"""The loop that makes the world what the stored state says, and the state what the world shows.

    observe -> core.advance(state, event, now) -> store the state with its evidence -> act

Only the controller that leads decides and acts; the others look, and read again at every tick what is stored.

Each tick performs the actions of every state again. They are idempotent, so a controller that was killed anywhere
needs no recovery of its own: it reads the stored state and ticks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from services.controller.election.leadership import Mandate
from services.controller.gateways.fleet import Fleet
from services.controller.ledger import Ledger
from services.controller.measuring import Measuring
from services.controller.settings import Pace
from services.controller.versions.loader import Loader
from services.controller.versions.memory_watch import MemoryWatch
from services.controller.versions.newcomers import Newcomers
from services.controller.versions.preflights import Preflights
from services.controller.versions.repository_watch import RepositoryWatch
from services.controller.versions.warmups import Warmups
from services.controller.webhooks.questions import Questions
from services.core.analysis.verdict import Outcome
from services.core.errors import Conflict, PenstockError, Unavailable
from services.core.inventory import Inventory
from services.core.rollouts.actions import LoadVersions, SetRoute, WarmVersions, actions_of, route_of
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.history import entry_of
from services.core.rollouts.judgement import judge
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import Strategy
from services.core.rollouts.transitions import advance, ends_without_promotion
from services.core.rollouts.webhook import Occasion
from services.core.route import Route
from services.triton.model_server import ModelServer

_LOG = logging.getLogger(__name__)


class Reconciler:
    """Owns the tick.

    Args:
        ledger: The stored state.
        fleet: The gateway workers.
        server: Triton.
        loader: Loads versions in Triton in the background.
        warmups: Warms versions in the background.
        measuring: Takes measurements of custom metrics in the background.
        questions: Asks webhooks whose answer decides something.
        preflights: Finds out in the background whether there is room for a candidate.
        memory: Looks at the memory of both versions in the background.
        repository: What is published.
        clock: Wall clock, seconds since the epoch: what is stored must mean the same after a restart.
        pace: How often, how long.
        newcomers: Chooses the stable version of models without a route.
        mandate: Whether this process leads.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        fleet: Fleet,
        server: ModelServer,
        loader: Loader,
        warmups: Warmups,
        measuring: Measuring,
        questions: Questions,
        preflights: Preflights,
        memory: MemoryWatch,
        repository: RepositoryWatch,
        clock: Callable[[], float],
        pace: Pace,
        newcomers: Newcomers,
        mandate: Mandate,
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._server = server
        self._loader = loader
        self._warmups = warmups
        self._measuring = measuring
        self._questions = questions
        self._preflights = preflights
        self._memory = memory
        self._repository = repository
        self._clock = clock
        self._pace = pace
        self._newcomers = newcomers
        self._mandate = mandate
        self._wake = asyncio.Event()
        self._ticked = asyncio.Event()
        self._ended_before: dict[str, int] = {}
        self.server_problem: str | None = "Triton was not asked yet"
        self.loaded: Inventory | None = None
        self.ticks = 0

    def wake(self) -> None:
        """Have the next tick now."""
        self._wake.set()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self.tick()
            try:
                async with asyncio.timeout(self._pace.tick_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def tick(self) -> None:
        """Observe, advance, store and act once."""
        ended = self._loader.ended()
        self.loaded = await self._observe_server()
        self._ended_before = ended
        await self._repository.look()
        async with self._ledger.lock:
            try:
                if self._mandate.held:
                    await self._decide()
                else:
                    self._ledger.doubt()
                    await self._ledger.refresh()
            except (Unavailable, Conflict) as error:
                # The state in memory is stale now and is read again by the next tick; nothing was acted upon.
                _LOG.warning("nothing is decided in this tick: %s", error)
            if self._mandate.held:
                self._keep_loaded()
        self.ticks += 1
        ticked, self._ticked = self._ticked, asyncio.Event()
        ticked.set()

    async def ticked(self) -> None:
        """Wait for the end of the next tick."""
        await self._ticked.wait()

    async def _decide(self) -> None:
        await self._ledger.refresh()
        if not self._fleet.settled:
            self._expect_known_workers()
        self._clear()
        for rollout in self._ledger.active.values():
            await self._step(rollout)
        await self._welcome()

    def _clear(self) -> None:
        """Drop what was begun for rollouts that are over, whoever ended them, and for phases that are."""
        active = self._ledger.active.values()
        under_way = {rollout.id for rollout in active}
        self._measuring.keep(under_way)
        self._questions.keep(under_way)
        self._memory.keep(under_way)
        self._preflights.keep({rollout.id for rollout in active if rollout.phase is Phase.PREPARING})
        self._warmups.keep({rollout.model for rollout in active if rollout.phase is Phase.WARMING})

    def _expect_known_workers(self) -> None:
        """Wait for the workers whose reports are counted already, as if they had just been heard of."""
        for rollout in self._ledger.active.values():
            self._fleet.expect(rollout.evidence.cursors)

    async def _observe_server(self) -> Inventory | None:
        """Return the ready versions by model, or None while Triton does not answer."""
        try:
            async with asyncio.timeout(self._pace.observe_timeout_s):
                loaded = await self._server.loaded()
        except TimeoutError:
            self.server_problem = f"Triton did not answer within {self._pace.observe_timeout_s:g} s"
        except PenstockError as error:
            self.server_problem = error.message
        else:
            self.server_problem = None
            return loaded
        return None

    async def _step(self, rollout: Rollout) -> None:
        """Take one rollout as far as the observations allow."""
        now = self._clock()
        if rollout.phase is Phase.PREPARING and self.loaded is not None:
            self._preflights.ensure(rollout)
        current = self._with_evidence(rollout)
        event = self._event_for(current, now)
        if event is not None:
            after, _ = advance(current, event, now)
            entry = entry_of(current, after, event, now)
            current = await self._ledger.save(rollout, after, entry)
            if entry is not None:
                _LOG.info("rollout %s: %s -> %s: %s", current.id, entry.source, entry.target, entry.reason)
        elif current is not rollout:
            current = await self._ledger.save(rollout, current, None)
        if current.phase.terminal:
            self._clear()
        for action in actions_of(current):
            if isinstance(action, SetRoute):
                await self._ledger.set_route(action.route, current.reason, current.id)
            elif isinstance(action, WarmVersions):
                self._warmups.ensure(action.model, action.versions)

    def _with_evidence(self, rollout: Rollout) -> Rollout:
        route = route_of(rollout)
        if not rollout.phase.weighted or self._ledger.routes.get(rollout.model) != route:
            return rollout
        seen = rollout.evidence.absorb(
            self._fleet.sightings(rollout.model, rollout.stable, *rollout.challengers),
            self._fleet.live(),
            self._ledger.changed(rollout.model),
        )
        for metric, reading in self._measuring.take(rollout):
            seen = seen.measured(metric, reading)
        if (look := self._memory.take(rollout)) is not None:
            candidate, *arms = rollout.challengers
            seen = seen.with_memory(look, (rollout.model, rollout.stable), (rollout.model, candidate), arms)
        seen = seen.fed_back(self._ledger.outcomes.get(rollout.id, seen.outcomes))
        return rollout if seen is rollout.evidence else replace(rollout, evidence=seen)

    def _event_for(self, rollout: Rollout, now: float) -> Event | None:
        if rollout.phase.early or rollout.phase.weighted:
            preparing = self._load_event(rollout) or self._warm_event(rollout) or self._rollback_event(rollout)
            if preparing is not None:
                return preparing
        event = judge(rollout, now, self._questions.waiting(rollout))
        # Right after a start, workers that live have not reported yet: their silence is no reason to give up.
        if event is not None and not (event.kind is EventKind.EXPIRED and not self._fleet.settled):
            # What was seen is no reason for more weight while Triton may have lost a version, nor while a worker saw
            # more than it can tell.
            held = not self._has_both(rollout) or bool(self._fleet.uncounted(rollout.model))
            return replace(event, held=held or self._waits_for_a_word(rollout, event, now))
        return self._drain_event(rollout, now) if rollout.phase.leaving else None

    def _has_both(self, rollout: Rollout) -> bool:
        if self.loaded is None or not rollout.versions <= self.loaded.get(rollout.model, frozenset()):
            return False
        # A load that began for the rollout before may be taking away what was seen.
        return self._loader.undisturbed(rollout.model, self._ended_before)

    def _load_event(self, rollout: Rollout) -> Event | None:
        preparing = rollout.phase is Phase.PREPARING
        preflight = self._preflights.result(rollout) if preparing else None
        if self._has_both(rollout):
            confirmed = preparing and self._questions.confirmed(rollout, Occasion.CONFIRM_ROLLOUT) is None
            return Event(EventKind.LOADED, reason=preflight.text if preflight else "") if confirmed else None
        if preflight is not None and not preflight.may_load:
            return Event(EventKind.LOAD_FAILED, reason=preflight.text)
        refusal = self._loader.take_refusal(rollout.model)
        if refusal is not None and refusal.versions.intersection(rollout.challengers):
            return Event(EventKind.LOAD_FAILED, reason=refusal.reason)
        return None

    def _warm_event(self, rollout: Rollout) -> Event | None:
        if rollout.phase is not Phase.WARMING:
            return None
        if self._warmups.is_warm(rollout.model, rollout.challengers):
            waits = self._questions.confirmed(rollout, Occasion.PRE_ROLLOUT)
            refusal = self._questions.refused(rollout, Occasion.PRE_ROLLOUT)
            if refusal is not None:
                return Event(EventKind.WARM_FAILED, reason=refusal)
            if waits is not None:
                return None
        result = self._warmups.take_result(rollout.model, rollout.challengers)
        if result is None:
            return None
        return Event(EventKind.WARMED if result.warm else EventKind.WARM_FAILED, reason=result.words)

    def _rollback_event(self, rollout: Rollout) -> Event | None:
        """Return an abort that a webhook calls for."""
        if not rollout.phase.weighted:
            return None
        name = self._questions.called_for(rollout, Occasion.ROLLBACK)
        return None if name is None else Event(EventKind.ABORT, f"webhook {name}", "its answer calls for a rollback")

    def _waits_for_a_word(self, rollout: Rollout, event: Event, now: float) -> bool:
        """Whether a step that has passed waits for webhooks to confirm what follows."""
        passed = event.verdict is not None and event.verdict.outcome is Outcome.PASS
        if not passed or rollout.phase is not Phase.PROGRESSING or not rollout.step_is_over(now):
            return False
        if rollout.spec.strategy is Strategy.SHADOW or ends_without_promotion(rollout, event):  # no traffic follows
            return False
        occasion = Occasion.CONFIRM_PROMOTION if rollout.on_last_step else Occasion.CONFIRM_TRAFFIC_INCREASE
        return self._questions.confirmed(rollout, occasion) is not None

    def _drain_event(self, rollout: Rollout, now: float) -> Event | None:
        if self._ledger.routes.get(rollout.model) != route_of(rollout):
            return None
        changed = self._ledger.changed(rollout.model)
        if self._fleet.has_let_go(changed, self._pace.linger_s):
            return Event(EventKind.DRAINED)
        # Right after a start, or a change of the lead, nobody has been heard: that is no reason to take a version away.
        if now - rollout.phase_entered_at < self._pace.drain_timeout_s or not self._fleet.settled:
            return None
        silent = ", ".join(sorted(self._fleet.lagging(changed))) or "none"
        words = f"gateways had {self._pace.drain_timeout_s:g} s to let go; not acknowledged by: {silent}"
        return Event(EventKind.DRAINED, reason=words)

    async def _welcome(self) -> None:
        """Give models that have no route one to their latest version that loads."""
        if self.loaded is None:
            return
        routes = self._ledger.routes
        for model, published in self._repository.versions.items():
            if model in routes:
                continue
            stable = self._newcomers.settle(model, published, self.loaded.get(model, frozenset()))
            if stable is not None:
                route = Route(model, stable, versions=frozenset({stable}))
                await self._ledger.set_route(route, f"version {stable} is the latest that loads")
                _LOG.info("model %s: version %d is stable", model, stable)

    def _keep_loaded(self) -> None:
        """Load what the routes and rollouts need and a Triton lacks, for example since it restarted."""
        if self.loaded is None:
            return
        active = self._ledger.active
        for model, route in self._ledger.routes.items():
            if model in active:
                wanted = self._wanted(active[model])
            else:
                wanted = [LoadVersions(model, frozenset({route.stable}))]
            for action in wanted:
                if not action.holds(self.loaded):
                    self._loader.ensure(model, action.versions, action.tolerated)

    def _wanted(self, rollout: Rollout) -> list[LoadVersions]:
        """Return what a rollout has loaded; its candidate is not before it is known that there is room for it."""
        if rollout.phase is Phase.PREPARING:
            preflight = self._preflights.result(rollout)
            if preflight is None or not preflight.may_load:
                stable = frozenset({rollout.stable})
                return [LoadVersions(rollout.model, stable, tolerated=rollout.versions)]
        return [action for action in actions_of(rollout) if isinstance(action, LoadVersions)]
