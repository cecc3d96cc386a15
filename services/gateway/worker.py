"""One worker process: ``python -m services.gateway.worker SETTINGS``. Ends with 0 after a drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Coroutine

import uvloop

from services.core.errors import PenstockError
from services.gateway import logs
from services.gateway.answer_memory import AnswerMemory
from services.gateway.app import Gateway
from services.gateway.control.controllers import Controllers
from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.control.reporter import StatisticsReporter
from services.gateway.control.route_watch import RouteWatch
from services.gateway.control.table_cache import TableCache
from services.gateway.control.table_saver import TableSaver
from services.gateway.metrics import comparisons
from services.gateway.metrics.replica_metrics import replica_readings
from services.gateway.metrics.series import FEEDBACK, SHARED_MEMORY
from services.gateway.metrics.slab import SlabReader, SlabWriter
from services.gateway.metrics.tallies import FAMILIES, tallies
from services.gateway.observation import Observation
from services.gateway.routes import Routes
from services.gateway.settings import WorkerSettings
from services.triton.replicas.replica_set import ReplicaSet
from services.triton.shared_memory.shared_memory import SharedMemory

# Connections to one replica for clients' requests.
_CLIENTS_CONNECTIONS = 512
# How long a worker without a route table waits for one before it takes connections all the same, and refuses in words.
# One that listened sooner would refuse what others of its gateway, which have their table, serve.
_FIRST_TABLE_S = 2.0

_log = logging.getLogger(__name__)


async def run(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set, then drain."""
    behaviour = settings.behaviour
    slab, counted = SlabWriter(settings.slab), SlabReader(settings.slab)
    settings.slab.unlink()  # the mappings keep it: whatever happens to its processes, nothing is left on the disk
    cache = TableCache(settings.table_cache)
    routes = Routes()
    observation = Observation(slab, tracing=behaviour.tracing, log=behaviour.log, instance=settings.instance)
    memory = SharedMemory(settings.instance, behaviour.shared_memory)
    triton = ReplicaSet(
        behaviour.triton,
        behaviour.replicas,
        behaviour.merging,
        memory=memory,
        # With as many more as copies may take, clients' requests never find them taken by copies.
        max_connections_per_replica=_CLIENTS_CONNECTIONS + behaviour.mirroring.most_in_flight,
        max_response_bytes=behaviour.limits.max_response_bytes,
        events=observation.replica_events,
    )
    routes.on_change(lambda table: triton.follow((r.model, v) for r in table.routes.values() for v in r.versions))
    answers = AnswerMemory(settings.answers)
    controllers = Controllers([str(address) for address in behaviour.controllers])
    gateway = Gateway(
        triton,
        routes,
        slab,
        http_listener=socket.socket(fileno=settings.http_listener),
        grpc_listener=socket.socket(fileno=settings.grpc_listener),
        limits=behaviour.limits,
        admission=behaviour.admission,
        mirroring=behaviour.mirroring,
        answers=answers,
        feedback=FeedbackDesk(
            answers,
            routes,
            controllers,
            count=lambda model, result, outcomes: observation.recorder.add(FEEDBACK, model, result, count=outcomes),
        ),
        workers=settings.workers,
        replicas=lambda: len(triton.states()),
        observation=observation,
    )
    triton.on_lingering(gateway.lingers)
    observation.watch(lambda: [*replica_readings(triton.states()), (SHARED_MEMORY, (), memory.held_bytes)])
    known = asyncio.Event()
    routes.on_change(lambda _: known.set())
    saved = cache.load()
    if saved is not None:
        routes.replace(saved)

    saver = TableSaver(cache.save, saved.generation if saved is not None else 0)
    watch = RouteWatch(controllers, settings.instance, routes, save=saver.put)
    reporter = StatisticsReporter(
        controllers,
        settings.instance,
        lambda: tallies(counted.records(FAMILIES)),
        routes,
        comparisons=lambda: comparisons.comparisons(counted.records(comparisons.FAMILIES)),
        without_room=lambda: observation.recorder.without_room,
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            owned = [tasks.create_task(part.run()) for part in (triton, watch, reporter, observation)]
            await _first_of(known.wait(), stop.wait(), within_s=_FIRST_TABLE_S)
            await gateway.start()
            gc.collect()
            gc.freeze()  # what is here now stays: the collector need not look at it again
            await stop.wait()
            _log.info("%s: draining", settings.instance)
            await gateway.stop()
            for task in owned:
                task.cancel()
        await reporter.report_last()
    finally:
        await asyncio.to_thread(saver.close)
        await observation.aclose()
        await controllers.aclose()
        await triton.aclose()
        memory.close()


async def _first_of(*events: Coroutine[None, None, object], within_s: float) -> None:
    waiting = [asyncio.create_task(event) for event in events]
    try:
        await asyncio.wait(waiting, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _main(settings: WorkerSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


def _allow_many_connections() -> None:
    """Raise the number of open files to what the machine allows: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Run the worker that the one argument describes."""
    settings = WorkerSettings.from_argument(sys.argv[1])
    _allow_many_connections()
    logs.configure(settings.behaviour.log, settings.instance)
    status = 0
    try:
        uvloop.run(_main(settings))
    except* PenstockError as errors:
        status = 1
        for error in errors.exceptions:
            _log.error("%s: %s", settings.instance, error)
    sys.exit(status)


if __name__ == "__main__":
    main()
