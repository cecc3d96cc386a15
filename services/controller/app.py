"""The controller process, put together. Reads from top to bottom as its table of contents."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.controller.api.forwarding import ToLeader
from services.controller.api.grpc_server import GrpcServer, Services
from services.controller.api.grpc_services import FeedbackService, RouteService, StatisticsService
from services.controller.api.leader_calls import LeaderCalls
from services.controller.api.rest import rest_app
from services.controller.api.rollout_service import RolloutService
from services.controller.audit_retention import AuditRetention
from services.controller.dashboard.pages import Dashboard
from services.controller.election.governor import Governor
from services.controller.election.leadership import Election, Leader, Mandate
from services.controller.election.postgres_election import PostgresElection
from services.controller.election.sole_election import SoleElection, sole_lock
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
from services.controller.prometheus_query import PrometheusQuery
from services.controller.reconciler import Reconciler
from services.controller.settings import Pace
from services.controller.storage.database import Database
from services.controller.storage.sql_store import SqlStore
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
from services.core.accelerator import Accelerator
from services.core.address import Address
from services.core.errors import PenstockError
from services.core.replica_address import Targets
from services.process.asgi_server import AsgiServer
from services.process.ports import choose_free_port, listen_shared, port_of
from services.triton.layout import RepositoryLayout
from services.triton.memory.needs import need_of
from services.triton.memory.source import TritonMemory
from services.triton.model_server_group import ModelServerGroup
from services.triton.triton_members import TritonMembers
from services.triton.trust import Trust
from services.triton.warming.triton_warmer import TritonWarmer

# Nobody waits for these: a repository that is slow is given the time, one that hangs is asked again.
_BACKGROUND_READ_S = 60.0
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """What a controller is told.

    Attributes:
        repository: The model repository, as Triton serves it.
        triton: Where the Tritons are.
        database_url: SQLAlchemy URL.
        host: Address to listen on.
        http_port: REST port; 0 chooses a free one.
        grpc_port: gRPC port; 0 chooses a free one.
        pace: How often it looks, how long it waits.
        public_key: The key that versions must be signed for to be loaded; None asks for no signature.
        accelerator: Finds the GPU that engines must be built for to be loaded.
        prometheus_url: Where custom metrics of rollouts are asked from; None where nobody said.
        webhook_secret: What calls of webhooks are signed with; empty leaves them unsigned.
        webhook_hosts: Hosts that webhooks may name, with ``*`` for any part.
        audit_days: How long records of the audit log are kept; None for ever.
        advertise: Name or address by which other controllers and gateways reach this one; None where it is ``host``.
    """

    repository: Path
    triton: Targets
    database_url: str
    host: str = "127.0.0.1"
    http_port: int = 9000
    grpc_port: int = 9001
    pace: Pace = field(default_factory=Pace)
    public_key: Path | None = None
    accelerator: Callable[[], Accelerator | None] = lambda: None
    prometheus_url: str | None = None
    webhook_secret: str = ""
    webhook_hosts: tuple[str, ...] = ("*",)
    audit_days: int | None = None
    advertise: str | None = None


async def run_controller(options: ControllerOptions, announce: Callable[[int, int], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        options: What it is told.
        announce: Called with the REST and gRPC ports when both accept connections.

    Raises:
        ConfigurationError: A port is taken, or the database was written by another version.
    """
    database = Database(options.database_url)
    [listener] = listen_shared(options.host, options.http_port, 1, "the controller's HTTP port")
    with closing(listener), sole_lock(database):
        try:
            await _run(options, announce, database, listener)
        finally:
            await database.close()


async def _run(
    options: ControllerOptions, announce: Callable[[int, int], None], database: Database, listener: socket.socket
) -> None:
    pace, layout = options.pace, RepositoryLayout(options.repository)
    grpc_port = options.grpc_port or choose_free_port(options.host)
    mandate = Mandate(_identity(options, port_of(listener), grpc_port), time.monotonic)
    store = SqlStore(database, mandate)
    trust = Trust(layout, options.public_key, options.accelerator)
    tritons = TritonMembers(options.triton, layout, trust=trust, permit=mandate.require)
    server = ModelServerGroup(tritons)

    repository, board = RepositoryWatch(layout, pace.observe_timeout_s), RouteBoard()
    ledger = Ledger(store, board, mandate, time.time)
    fleet = Fleet(time.monotonic, lambda: board.generation, pace.stale_after_s)
    loader = Loader(server, time.monotonic)
    warmups = Warmups(TritonWarmer(tritons, layout), time.monotonic)
    prometheus = PrometheusQuery(options.prometheus_url) if options.prometheus_url else None
    caller = WebhookCaller(options.webhook_secret, time.time, AllowedHosts(options.webhook_hosts))
    measuring = Measuring(prometheus, caller, time.time, time.monotonic)
    questions, announcer = Questions(caller, time.monotonic), Announcer(caller, store, mandate, time.time)
    waits = Waits(questions, mandate, fleet)
    ledger.on_change(announcer.wake)
    source = TritonMemory(tritons.addresses)
    preflights = Preflights(source, partial(need_of, layout), RepositoryReads(_BACKGROUND_READ_S))
    memory = MemoryWatch(source, time.time, time.monotonic)
    newcomers = Newcomers(loader, time.monotonic)
    reconciler = Reconciler(
        ledger=ledger,
        fleet=fleet,
        server=server,
        loader=loader,
        warmups=warmups,
        measuring=measuring,
        questions=questions,
        preflights=preflights,
        memory=memory,
        repository=repository,
        clock=time.time,
        pace=pace,
        newcomers=newcomers,
        mandate=mandate,
    )
    eligibility = Eligibility(ledger, measuring, caller, published=layout, reads=RepositoryReads())
    operations = Operations(
        ledger=ledger,
        store=store,
        loader=loader,
        eligibility=eligibility,
        wake=reconciler.wake,
        clock=time.time,
        mandate=mandate,
    )
    overview = Overview(
        ledger=ledger,
        board=board,
        fleet=fleet,
        reconciler=reconciler,
        repository=repository,
        loader=loader,
        newcomers=newcomers,
        mandate=mandate,
        waiting=waits.of,
    )
    election = _election(database, mandate.me)
    drops = (loader.drop, warmups.drop, measuring.drop, questions.drop, preflights.drop, memory.drop, announcer.drop)
    governor = Governor(
        election,
        mandate,
        begins=(fleet.begin, *drops, ledger.doubt, reconciler.wake, announcer.wake),
        ends=(*drops, ledger.doubt, board.wake, reconciler.wake),
    )
    feed = EventFeed(epoch=f"{time.time_ns():x}")
    watch = Watch(
        ledger=ledger, overview=overview, feed=feed, read=operations.get, ticked=reconciler.ticked, clock=time.time
    )
    operations.on_note(watch.noted)
    dashboard = Dashboard(
        operations=operations, overview=overview, ledger=ledger, watch=watch, feed=feed, clock=time.time
    )

    insight = Insight(eligibility=eligibility, store=store, fleet=fleet, clock=time.time, waiting=waits.of)
    to_leader, feedback = ToLeader(mandate), FeedbackIntake(ledger, mandate)
    metrics = ControllerMetrics(ledger, fleet, reconciler, mandate, caller, announcer=announcer)
    rest = rest_app(operations, overview, insight, metrics, dashboard=dashboard, to_leader=to_leader, feedback=feedback)
    add_events(rest, operations, feed, watch)
    http = AsgiServer(rest, listener)
    try:
        services = Services(
            RouteService(board, mandate),
            StatisticsService(fleet, board, mandate),
            FeedbackService(feedback),
            RolloutService(
                operations=operations, insight=insight, feed=feed, watch=watch, to_leader=LeaderCalls(mandate)
            ),
        )
        grpc = GrpcServer(services, options.host, grpc_port)
        retention = AuditRetention(store, mandate, time.time, options.audit_days)
        background = (governor.run, reconciler.run, tritons.run, watch.run, announcer.run, retention.run)
        async with loader, warmups, measuring, questions, preflights, memory, announcer:
            await _serve(http, grpc, background, board, announce)
    finally:
        closing = [http.stop, to_leader.aclose, repository.close, caller.aclose, server.aclose, tritons.aclose]
        for close in [*closing, prometheus.aclose] if prometheus else closing:
            await close()


def _identity(options: ControllerOptions, http_port: int, grpc_port: int) -> Leader:
    host = options.advertise or (socket.gethostname() if options.host in _EVERYWHERE else options.host)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    return Leader(name, str(Address(host, http_port)), str(Address(host, grpc_port)))


def _election(database: Database, me: Leader) -> Election:
    if database.shared:
        return PostgresElection(database, me, _least_generation)
    return SoleElection(database, me, _least_generation())


def _least_generation() -> int:
    return int(time.time())


async def _serve(
    http: AsgiServer,
    grpc: GrpcServer,
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    board: RouteBoard,
    announce: Callable[[int, int], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    try:
        async with asyncio.TaskGroup() as tasks:
            await grpc.start()
            await http.start()
            working = [tasks.create_task(work()) for work in background]
            announce(http.port, grpc.port)
            await stop.wait()
            board.close()
            for task in working:
                task.cancel()
            await http.stop()
            await asyncio.wait(working)
    except* PenstockError as group:
        # One clean message instead of a group: a task ends the process only by an error that a person must mend.
        first = next(iter(group.exceptions))
        raise first from None
    finally:
        board.close()
        await grpc.stop()
