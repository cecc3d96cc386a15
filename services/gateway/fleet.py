"""The parent of the workers: claims the ports, keeps the workers running, shows their counts, ends them in order."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from services.core.address import Address
from services.core.errors import ConfigurationError
from services.gateway.edge.rest.server import HttpServer
from services.gateway.metrics.app import metrics_app
from services.gateway.metrics.exposition import GatewayCollector
from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.slab import SlabReader, create_slab_file
from services.gateway.metrics.window import PERIOD_S, Window
from services.gateway.settings import GatewaySettings, WorkerSettings
from services.process.backoff import Backoff
from services.process.child import ChildProcess
from services.process.ports import claim_shared
from services.process.supervised import Supervised

# From SIGTERM a worker drains by itself; this much later it is killed.
_GRACE_AFTER_DRAIN_S = 5.0
_POLL_S = 0.05
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

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then drain all workers.

        Raises:
            ConfigurationError: A port is taken, or the state directory cannot be used.
        """
        settings = self._settings
        _prepare(settings.state_dir)
        claims = [
            claim_shared(settings.host, settings.http_port, "--http-port"),
            claim_shared(settings.host, settings.grpc_port, "--grpc-port"),
            claim_shared(settings.host, settings.metrics_port, "--metrics-port"),
        ]
        sockets, ports = [claim[0] for claim in claims], [claim[1] for claim in claims]
        try:
            await self._serve(ports, sockets[2], stop)
        finally:
            for held in sockets:
                held.close()

    async def _serve(self, ports: list[int], metrics_socket: socket.socket, stop: asyncio.Event) -> None:
        workers = [self._worker(number, ports[0], ports[1]) for number in range(self._settings.workers)]
        collector = GatewayCollector(self._slabs, self._window, time.monotonic)
        metrics = HttpServer(metrics_app(collector, self._slabs, len(workers)), metrics_socket)
        await metrics.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                owned = [tasks.create_task(worker.run()) for worker in workers]
                owned += [tasks.create_task(self._remember()), tasks.create_task(self._announce(ports))]
                await stop.wait()
                async with asyncio.TaskGroup() as stops:
                    for worker in workers:
                        stops.create_task(worker.stop())
                for task in owned:
                    task.cancel()
        finally:
            await metrics.stop()

    def _worker(self, number: int, http_port: int, grpc_port: int) -> Supervised:
        """Return a supervised worker; each of its lives has an instance name and a slab of its own."""
        instance = ""

        def spawn() -> ChildProcess:
            nonlocal instance
            instance = f"{socket.gethostname()}-{number}-{uuid.uuid4().hex[:12]}"
            slab = self._slab_path(instance)
            create_slab_file(slab)
            self._slabs.add(instance, SlabReader(slab))
            settings = self._worker_settings(instance, slab, http_port, grpc_port)
            return ChildProcess([sys.executable, "-m", "services.gateway.worker", settings.to_argument()])

        async def retire(_status: int) -> None:
            self._slabs.retire(instance)
            self._slab_path(instance).unlink(missing_ok=True)

        return Supervised(
            f"gateway worker {number}",
            spawn,
            on_exit=retire,
            backoff=Backoff(first_s=0.1, most_s=10.0),
            grace_s=self._settings.limits.drain_s + _GRACE_AFTER_DRAIN_S,
        )

    def _worker_settings(self, instance: str, slab: Path, http_port: int, grpc_port: int) -> WorkerSettings:
        settings = self._settings
        return WorkerSettings(
            instance=instance,
            host=settings.host,
            http_port=http_port,
            grpc_port=grpc_port,
            triton=settings.triton,
            controller=settings.controller,
            slab=slab,
            table_cache=settings.state_dir / "routes.json",
            limits=settings.limits,
        )

    def _slab_path(self, instance: str) -> Path:
        return _slab_dir(self._settings.state_dir) / f"{instance}.slab"

    async def _remember(self) -> None:
        while True:
            self._window.remember(time.monotonic(), self._slabs.merged())
            await asyncio.sleep(PERIOD_S)

    async def _announce(self, ports: list[int]) -> None:
        while self._slabs.listening < self._settings.workers:  # noqa: ASYNC110 - other processes set no asyncio.Event
            await asyncio.sleep(_POLL_S)
        rest, grpc, metrics = (Address(self._settings.host, port) for port in ports)
        self._tell(Endpoints(f"http://{rest}", str(grpc), f"http://{metrics}/metrics"))


def _slab_dir(state_dir: Path) -> Path:
    return state_dir / "slabs"


def _prepare(state_dir: Path) -> None:
    """Make the directories. A worker removes its slab's name as it starts: one that is old belongs to nobody."""
    slabs = _slab_dir(state_dir)
    try:
        slabs.mkdir(parents=True, exist_ok=True)
        for slab in slabs.glob("*.slab"):
            if slab.stat().st_mtime < time.time() - _FORGOTTEN_AFTER_S:
                slab.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the state directory {state_dir} cannot be used: {error.strerror}; choose another with --state-dir"
        ) from error
