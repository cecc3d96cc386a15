"""A whole controller on fakes, driven tick by tick, that can be killed and started again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from fastapi import FastAPI

from services.controller.api.forwarding import ToLeader
from services.controller.api.leader_calls import LeaderCalls
from services.controller.api.rest import rest_app
from services.controller.api.rollout_service import RolloutService
from services.controller.dashboard.pages import Dashboard
from services.controller.election.leadership import Leader, Mandate
from services.controller.eligibility import Eligibility
from services.controller.events.event_feed import EventFeed
from services.controller.events.event_routes import add_events
from services.controller.events.watch import Watch
from services.controller.feedback import FeedbackIntake
from services.controller.gateways.fleet import Fleet
from services.controller.gateways.route_board import RouteBoard
from services.controller.insight import Insight
from services.controller.ledger import Ledger
from services.controller.measuring import Measuring
from services.controller.metrics import ControllerMetrics
from services.controller.operations import Operations
from services.controller.overview import Overview
from services.controller.reconciler import Reconciler
from services.controller.settings import Pace
from services.controller.storage.store import Store
from services.controller.versions.loader import Loader
from services.controller.versions.memory_watch import MemoryWatch
from services.controller.versions.newcomers import Newcomers
from services.controller.versions.preflights import Preflights
from services.controller.versions.repository_reads import RepositoryReads
from services.controller.versions.repository_watch import RepositoryWatch
from services.controller.versions.warmups import Warmups
from services.controller.webhooks.announcer import Announcer
from services.controller.webhooks.caller import WebhookCaller
from services.controller.webhooks.hosts import AllowedHosts
from services.controller.webhooks.questions import Questions
from services.controller.webhooks.waits import Waits
from services.core.errors import NotFound
from services.core.rollouts.rollout import Rollout
from services.triton.model_server_group import ModelServerGroup
from tests.fakes.clock import FakeClock
from tests.fakes.gateway_worker import FakeGatewayWorker
from tests.fakes.kill_switch import Killed, KillingModelServer, KillingStore, KillSwitch
from tests.fakes.listeners import FakeListeners
from tests.fakes.memory_source import FakeMemorySource, modest_need
from tests.fakes.model_server import FakeMembers, FakeModelServer
from tests.fakes.prometheus import FakePrometheus
from tests.fakes.store import FakeStore
from tests.fakes.warmer import FakeWarmer


class FakeRepository:
    """Published versions by model."""

    def __init__(self, **published: list[int]) -> None:
        self.published = published

    def models(self) -> list[str]:
        return sorted(self.published)

    def versions(self, model: str) -> list[int]:
        if model not in self.published:
            raise NotFound(f"no model '{model}'")
        return list(self.published[model])


class ControlPlane:
    """The parts of ``services.controller.app`` without sockets, on a clock that stands still between ticks.

    What outlives the process is an argument and stays: store, model server, workers, repository. Used as a context.
    With ``further`` model servers it has all of them as one group, as the real one has its Tritons.
    """

    def __init__(
        self,
        store: Store | None = None,
        server: FakeModelServer | None = None,
        repository: FakeRepository | None = None,
        switch: KillSwitch | None = None,
        further: Sequence[FakeModelServer] = (),
    ) -> None:
        self.clock = FakeClock()
        self.reads = RepositoryReads()
        self.store: Any = store or FakeStore()
        self.server = server or FakeModelServer()
        self.servers = [self.server, *further]
        self.warmer = FakeWarmer()
        self.prometheus = FakePrometheus()
        self.listeners = FakeListeners()
        self.memory = FakeMemorySource()
        self.repository = repository or FakeRepository(digits=[1])
        self.switch = switch or KillSwitch()
        self.workers = [FakeGatewayWorker("worker-1"), FakeGatewayWorker("worker-2")]
        self.per_tick = 100
        self.starts = 0
        self._start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        await self.loader.__aexit__(None, None, None)
        await self.warmups.__aexit__(None, None, None)
        await self.measuring.__aexit__(None, None, None)
        await self.questions.__aexit__(None, None, None)
        await self.preflights.__aexit__(None, None, None)
        await self.memory_watch.__aexit__(None, None, None)
        await self.announcer.__aexit__(None, None, None)
        await self.group.aclose()

    def _start(self) -> None:
        self.starts += 1
        store, monotonic = KillingStore(self.store, self.switch), self.clock.monotonic
        self.watch = RepositoryWatch(self.repository, timeout_s=10.0)
        self.board = RouteBoard()
        self.mandate = Mandate(Leader(f"controller-{self.starts}", "here:9000", "here:9001"), monotonic, epoch=0)
        self.ledger = Ledger(store, self.board, self.mandate, self.clock)
        self.fleet = Fleet(monotonic, lambda: self.board.generation, stale_after_s=10.0)
        self.group = ModelServerGroup(FakeMembers(self.servers), look_timeout_s=0.2, clock=monotonic)
        server = KillingModelServer(self.group if len(self.servers) > 1 else self.server, self.switch)
        self.loader = Loader(server, monotonic)
        self.warmups = Warmups(self.warmer, monotonic)
        hosts = AllowedHosts(("*",), self.listeners.resolve)
        caller = WebhookCaller("secret", self.clock, hosts, self.listeners.transport)
        self.measuring = Measuring(self.prometheus, caller, self.clock, monotonic)
        self.questions = Questions(caller, monotonic)
        self.announcer = Announcer(caller, self.store, self.mandate, self.clock)
        waits = Waits(self.questions, self.mandate, self.fleet)
        self.ledger.on_change(self.announcer.wake)
        self.preflights = Preflights(self.memory, modest_need, self.reads)
        self.memory_watch = MemoryWatch(self.memory, self.clock, monotonic)
        self.newcomers = Newcomers(self.loader, monotonic)
        self.reconciler = Reconciler(
            ledger=self.ledger,
            fleet=self.fleet,
            server=server,
            loader=self.loader,
            warmups=self.warmups,
            measuring=self.measuring,
            questions=self.questions,
            preflights=self.preflights,
            memory=self.memory_watch,
            repository=self.watch,
            clock=self.clock,
            pace=Pace(),
            newcomers=self.newcomers,
            mandate=self.mandate,
        )
        eligibility = Eligibility(self.ledger, self.measuring, caller, published=self.repository, reads=self.reads)
        self.operations = Operations(
            ledger=self.ledger,
            store=store,
            loader=self.loader,
            eligibility=eligibility,
            wake=self.reconciler.wake,
            clock=self.clock,
            mandate=self.mandate,
        )
        self.overview = Overview(
            ledger=self.ledger,
            board=self.board,
            fleet=self.fleet,
            reconciler=self.reconciler,
            repository=self.watch,
            loader=self.loader,
            newcomers=self.newcomers,
            mandate=self.mandate,
            waiting=waits.of,
        )
        self.feedback = FeedbackIntake(self.ledger, self.mandate)
        self.insight = Insight(
            eligibility=eligibility, store=self.store, fleet=self.fleet, clock=self.clock, waiting=waits.of
        )
        self.metrics = ControllerMetrics(
            self.ledger, self.fleet, self.reconciler, self.mandate, caller, announcer=self.announcer
        )
        self.feed = EventFeed(f"start{self.starts}")
        self.events = Watch(
            ledger=self.ledger,
            overview=self.overview,
            feed=self.feed,
            read=self.operations.get,
            ticked=self.reconciler.ticked,
            clock=self.clock,
        )
        self.operations.on_note(self.events.noted)

    def app(self, to_leader: ToLeader | None = None) -> FastAPI:
        """Return the REST API with its pages and events."""
        dashboard = Dashboard(
            operations=self.operations,
            overview=self.overview,
            ledger=self.ledger,
            watch=self.events,
            feed=self.feed,
            clock=self.clock,
        )
        app = rest_app(
            self.operations,
            self.overview,
            self.insight,
            self.metrics,
            dashboard=dashboard,
            to_leader=to_leader,
            feedback=self.feedback,
        )
        add_events(app, self.operations, self.feed, self.events)
        return app

    def rollouts(self, *, max_watchers: int = 32) -> RolloutService:
        """Return the gRPC service of rollouts."""
        return RolloutService(
            operations=self.operations,
            insight=self.insight,
            feed=self.feed,
            watch=self.events,
            to_leader=LeaderCalls(self.mandate),
            max_watchers=max_watchers,
        )

    async def restart(self) -> None:
        """Drop everything that was in memory and begin with what is stored."""
        await self._end()
        self._start()

    async def tick(self, ticks: int = 1) -> None:
        """Let seconds pass: the workers answer and report, the controller ticks; a killed one is started again."""
        for _ in range(ticks):
            self.clock.advance(1.0)
            for worker in self.workers:
                worker.watch(self.board)
                for model in self.repository.models():
                    worker.answer(model, self.per_tick)
                worker.report_to(self.fleet)
            try:
                await self.reconciler.tick()
            except Killed:
                await self.restart()
                continue
            await self._loads_or_death()
            if self.warmer.stuck:
                await asyncio.sleep(0)
            else:
                await self.warmups.idle()
            await self.measuring.idle()
            await self.questions.idle()
            await self.preflights.idle()
            await self.memory_watch.idle()
            await self.tell()

    async def tell(self) -> None:
        """Have webhooks told what is due now."""
        await self.announcer.look()
        while self.announcer.under_way:
            await self.announcer.idle()
            await self.announcer.look()

    async def _loads_or_death(self) -> None:
        if any(server.stuck for server in self.servers):
            for _ in range(10):  # the loads that are not stuck need no more
                await asyncio.sleep(0)
            return
        alive = not self.switch.tripped.is_set()
        loads = asyncio.create_task(self.loader.idle())
        death = asyncio.create_task(self.switch.tripped.wait())
        waits = {loads, death} if alive else {loads}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        died = alive and self.switch.tripped.is_set()
        for task in (loads, death):
            task.cancel()
        await asyncio.gather(loads, death, return_exceptions=True)
        if died:
            await self.restart()

    async def serve(self) -> None:
        """Tick until every published model has a route, and the fleet is settled."""
        await self.tick(12)

    async def rollout(self, rollout_id: str) -> Rollout:
        """Return the stored state of a rollout."""
        found: Rollout = await self.store.get(rollout_id)
        return found
