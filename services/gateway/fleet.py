"""The parent of the workers: listens on the ports, keeps workers running, shows their counts, ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from services.core.address import Address
from services.core.errors import ConfigurationError
from services.gateway.answer_memory import create_answer_memory
from services.gateway.control.table_cache import TableCache
from services.gateway.metrics.app import metrics_app
from services.gateway.metrics.exposition import GatewayCollector
from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.series import REQUEST
from services.gateway.metrics.time_split import TimeSplit
from services.gateway.metrics.triton_poll import TritonPoll
from services.gateway.metrics.window import PERIOD_S, Window
from services.gateway.rolling import Rolling
from services.gateway.settings import GatewaySettings, WorkerSettings
from services.gateway.slot import WorkerSlot
from services.gateway.worker_process import WorkerProcess
from services.process.asgi_server import AsgiServer
from services.process.ports import listen_shared, port_of
from services.triton.shared_memory.arena import remove_abandoned

# From SIGTERM a worker drains by itself; this much later it is killed. Its last report may take 5 s of it.
_GRACE_AFTER_DRAIN_S = 8.0
_POLL_S = 0.05
# What quantiles of the last minute are made of.
_WINDOW_FAMILIES = frozenset({REQUEST})
_FORGOTTEN_AFTER_S = 60.0


class Endpoints(NamedTuple):
    """Where a gateway serves."""

    rest: str
    grpc: str
    metrics: str


class Fleet:
    """All workers of one gateway.

    Args:
        settings: What to run.
        announce: Told the addresses of REST, gRPC and metrics when all workers listen.
    """

    def __init__(self, settings: GatewaySettings, announce: Callable[[Endpoints], None]) -> None:
        self._settings = settings
        self._tell = announce
        self._slabs = MergedSlabs()
        self._window = Window()
        self._split = TimeSplit()
        self._slots: list[WorkerSlot] = []

    async def run(self, stop: asyncio.Event, roll: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then drain all workers.

        Args:
            stop: Ends the gateway.
            roll: Replaces the workers one after the other whenever it is set; each successor listens before the old
                worker drains. One whose counters have little room left is replaced without being asked.

        Raises:
            ConfigurationError: A port is taken, or the state directory cannot be used.
        """
        settings = self._settings
        _prepare(settings.state_dir)
        remove_abandoned()
        with contextlib.ExitStack() as held:
            http = self._listen(held, settings.http_port, settings.workers, "--http-port")
            grpc = self._listen(held, settings.grpc_port, settings.workers, "--grpc-port")
            metrics = self._listen(held, settings.metrics_port, 1, "--metrics-port")
            pairs = list(zip(http, grpc, strict=True))
            self._slots = [WorkerSlot(partial(self._worker, number, pair)) for number, pair in enumerate(pairs)]
            ports = [port_of(http[0]), port_of(grpc[0]), port_of(metrics[0])]
            await self._serve(ports, metrics[0], [*http, *grpc], stop, roll)

    async def _serve(
        self,
        ports: list[int],
        metrics_socket: socket.socket,
        listeners: list[socket.socket],
        stop: asyncio.Event,
        roll: asyncio.Event,
    ) -> None:
        collector = GatewayCollector(self._slabs, self._window, time.monotonic, self._split)
        metrics = AsgiServer(metrics_app(collector, self._slabs, len(self._slots)), metrics_socket)
        await metrics.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(slot.run()) for slot in self._slots]
                others = [
                    tasks.create_task(self._remember()),
                    tasks.create_task(TritonPoll(self._slabs, self._split).run()),
                    tasks.create_task(self._announce(ports)),
                    tasks.create_task(Rolling(self._slots, roll).run()),
                ]
                await stop.wait()
                async with asyncio.TaskGroup() as stops:
                    for slot in self._slots:
                        stops.create_task(slot.stop())
                    await asyncio.sleep(0)  # every slot knows now that it starts no worker any more
                    # Or connections would queue up here for workers that do not come.
                    for listener in listeners:
                        listener.close()
                for task in (*running, *others):
                    task.cancel()
        finally:
            await metrics.stop()

    def _listen(self, held: contextlib.ExitStack, port: int, count: int, setting: str) -> list[socket.socket]:
        listeners = listen_shared(self._settings.host, port, count, setting)
        for listener in listeners:
            held.enter_context(listener)
        return listeners

    def _worker(self, number: int, listeners: tuple[socket.socket, socket.socket]) -> WorkerProcess:
        behaviour = self._settings.behaviour
        drain_s = behaviour.limits.unready_s + behaviour.limits.drain_s + behaviour.mirroring.drain_s
        return WorkerProcess(
            number,
            listeners=listeners,
            settings=partial(self._worker_settings, listeners),
            slab_dir=_slab_dir(self._settings.state_dir),
            slab_bytes=self._settings.slab_bytes,
            slabs=self._slabs,
            grace_s=drain_s + _GRACE_AFTER_DRAIN_S,
        )

    def _worker_settings(
        self, listeners: tuple[socket.socket, socket.socket], instance: str, slab: Path
    ) -> WorkerSettings:
        settings = self._settings
        return WorkerSettings(
            instance=instance,
            http_listener=listeners[0].fileno(),
            grpc_listener=listeners[1].fileno(),
            slab=slab,
            table_cache=_table_cache(settings.state_dir),
            answers=_answers(settings.state_dir),
            workers=settings.workers,
            behaviour=settings.behaviour,
        )

    async def _remember(self) -> None:
        while True:
            self._window.remember(time.monotonic(), self._slabs.merged(_WINDOW_FAMILIES))
            await asyncio.sleep(PERIOD_S)

    async def _announce(self, ports: list[int]) -> None:
        while self._slabs.listening < self._settings.workers:  # noqa: ASYNC110 - other processes set no asyncio.Event
            await asyncio.sleep(_POLL_S)
        rest, grpc, metrics = (Address(self._settings.host, port) for port in ports)
        self._tell(Endpoints(f"http://{rest}", str(grpc), f"http://{metrics}/metrics"))


def _answers(state_dir: Path) -> Path:
    return state_dir / "answers.table"


def _table_cache(state_dir: Path) -> Path:
    return state_dir / "routes.json"


def _slab_dir(state_dir: Path) -> Path:
    return state_dir / "slabs"


def _prepare(state_dir: Path) -> None:
    """Make the directories and what workers share.

    A worker removes its slab's name as it starts: one that is old belongs to nobody.
    """
    slabs = _slab_dir(state_dir)
    try:
        slabs.mkdir(parents=True, exist_ok=True)
        for slab in slabs.glob("*.slab"):
            if slab.stat().st_mtime < time.time() - _FORGOTTEN_AFTER_S:
                slab.unlink(missing_ok=True)
        TableCache(_table_cache(state_dir)).remove_leftovers(_FORGOTTEN_AFTER_S)
        create_answer_memory(_answers(state_dir))
    except OSError as error:
        raise ConfigurationError(
            f"the state directory {state_dir} cannot be used: {error.strerror}; choose another with --state-dir"
        ) from error
