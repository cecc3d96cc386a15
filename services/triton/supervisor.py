"""Keeps one Triton running: on loopback, with explicit model control, and started again with what it had loaded."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from services.core.errors import IntegrityError, NotFound, PenstockError, UpstreamFailure
from services.core.replica_address import ReplicaAddress
from services.process.backoff import Backoff
from services.process.bounded_log import BoundedLog
from services.process.child import ChildProcess
from services.process.lock import ProcessLock
from services.process.ports import choose_free_ports, ensure_free
from services.process.supervised import Supervised
from services.triton import leftovers
from services.triton.installation import TritonInstallation
from services.triton.layout import RepositoryLayout
from services.triton.loaded_memory import LoadedMemory
from services.triton.mender import Mender
from services.triton.stub_watch import StubWatch, processes_of
from services.triton.triton_members import TritonConnections
from services.triton.triton_model_server import TritonModelServer
from services.triton.trust import Trust

_log = logging.getLogger(__name__)
_READY_POLL_S = 0.1
_MOST_FAILED_STARTS = 3
_ORPHAN_EXTRA_GRACE_S = 0.5
_HEALTHY_S = 5.0
_MOST_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class TritonPorts:
    """Triton's three ports; 0 means a free one."""

    http: int = 18000
    grpc: int = 18001
    metrics: int = 18002


class TritonSupervisor:
    """Owns a Triton process from ``start`` to ``stop``; best used as an asynchronous context manager.

    A Triton that dies or hangs is started again after a growing delay, and gets the exact versions back that were READY
    when it was last seen healthy. That set is also on disk, so that a supervisor that died with its Triton needs no
    controller to serve again; a controller that wants something else loads it, and the memory follows. A model that is
    already loaded or loading is left alone: whoever did that since the start knows better than the memory. Of a Triton
    that lives, the versions whose processes died are loaded again.

    Args:
        installation: The Triton to run.
        repository: Its models.
        state_dir: Where the log, the staged backends and the memory live; one supervisor at a time.
        ports: Ports to listen on.
        host: Address to listen on; anything but loopback opens Triton's unprotected functions to the network.
        start_timeout_s: How long one start may take until Triton is ready, before models are loaded.
        exit_timeout_s: How long requests in flight may take at the end.
        backoff: Delays between an end and the next start.
        poll_s: How often the loaded versions, and the processes that run them, are looked at.
        hang_timeout_s: Silence after which a Triton that runs is ended and started again.
        trace_endpoint: URL that takes its spans (OTLP over HTTP) of requests that come with a trace; empty for none.
    """

    def __init__(
        self,
        installation: TritonInstallation,
        repository: RepositoryLayout,
        state_dir: Path,
        *,
        ports: TritonPorts | None = None,
        host: str = "127.0.0.1",
        start_timeout_s: float = 60.0,
        exit_timeout_s: int = 10,
        backoff: Backoff | None = None,
        poll_s: float = 1.0,
        hang_timeout_s: float = 30.0,
        trace_endpoint: str = "",
        trust: Trust | None = None,
    ) -> None:
        self.repository = repository
        self.ports = self._asked_ports = ports or TritonPorts()
        self.host = host
        self.log = BoundedLog(state_dir.absolute() / "logs" / "triton.log")
        self._installation = installation
        self._state_dir = state_dir.absolute()
        self._start_timeout_s = start_timeout_s
        self._exit_timeout_s = exit_timeout_s
        self._poll_s = poll_s
        self._hang_timeout_s = hang_timeout_s
        self._trace_endpoint = trace_endpoint
        self._trust = trust
        self._lock = ProcessLock(self._state_dir / "triton.lock", f"a Triton with the state directory {state_dir}")
        self._record = leftovers.RunRecord(self._state_dir / "triton-run.json")
        self._memory = LoadedMemory(self._state_dir / "triton-loaded.json")
        self._prefix = ""
        self._failed_starts = 0
        self._ready = asyncio.Event()
        self._was_ready = False
        self._task: asyncio.Task[None] | None = None
        self._supervised = Supervised(
            "triton",
            self._spawn,
            on_start=self._look_after,
            on_exit=self._clean_up,
            # One that served and died is wanted back at once; only one that dies at its start waits, and not for long.
            backoff=backoff or Backoff(most_s=_MOST_DELAY_S, healthy_s=_HEALTHY_S),
            grace_s=exit_timeout_s + 5.0,
            log=self.log,
        )

    @property
    def pid(self) -> int | None:
        """Process id of the running Triton, or None between two runs."""
        return self._supervised.pid

    @property
    def restarts(self) -> int:
        """How often Triton was started again."""
        return max(0, self._supervised.starts - 1)

    async def start(self) -> None:
        """Start Triton and return when it is ready for models to be loaded.

        Raises:
            MissingDependency: The installation lacks something.
            ConfigurationError: A port is taken, or another supervisor uses the state directory.
            UpstreamFailure: Triton did not become ready, with the end of its log.
        """
        self._lock.acquire()
        try:
            await self._prepare()
            self._task = asyncio.create_task(self._supervised.run(), name="triton supervisor")
            ready = asyncio.create_task(self._ready.wait())
            try:
                await asyncio.wait({self._task, ready}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ready.cancel()
            if self._task.done():
                await self._task
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End Triton after its requests in flight, and leave nothing behind."""
        await self._supervised.stop()
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                _log.error("triton: the supervision had failed: %s", error)
        self._lock.release()

    async def wait(self) -> None:
        """Wait until ``stop`` is called, and raise if the supervision itself fails."""
        if self._task is None:
            raise RuntimeError("wait() before start()")
        await asyncio.shield(self._task)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _prepare(self) -> None:
        left = self._record.read()
        if left is not None:
            # Up to its exit timeout it may answer still; after that it only refuses, for some seconds more.
            await asyncio.to_thread(leftovers.end_run, left, self._exit_timeout_s + _ORPHAN_EXTRA_GRACE_S)
            self._record.clear()
        for name in ("http", "grpc", "metrics"):
            ensure_free(self.host, getattr(self._asked_ports, name), f"triton.{name}_port")
        self._launch = await asyncio.to_thread(self._installation.prepare, self._state_dir)

    def _spawn(self) -> ChildProcess:
        if not self._was_ready:
            # Chosen again until one start succeeds: another process may have taken a port since. Kept after that, for
            # by then clients know them.
            self.ports = _with_free_ports(self._asked_ports, self.host)
        self._prefix = leftovers.new_prefix()
        self._record.write(self._prefix)
        return ChildProcess(self._command(), self._launch.environment, self.log)

    def _command(self) -> list[str]:
        addresses = [f"--{name}-address={self.host}" for name in ("http", "grpc", "metrics")]
        return [
            str(self._launch.executable),
            f"--model-repository={self.repository.root}",
            f"--backend-directory={self._launch.backend_directory}",
            # Each backend that is written in Python has a setting of its own.
            f"--backend-config=python,shm-region-prefix-name={self._prefix}",
            f"--backend-config=onnxruntime,shm-region-prefix-name={self._prefix}",
            "--model-control-mode=explicit",
            # Strict readiness would take the whole server out of service while one version loads, unloads or fails to.
            "--strict-readiness=false",
            "--disable-auto-complete-config",
            *addresses,
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            "--metrics-config=summary_latencies=true",
            f"--exit-timeout-secs={self._exit_timeout_s}",
            *(_tracing(self._trace_endpoint) if self._trace_endpoint else ()),
        ]

    async def _look_after(self, child: ChildProcess) -> None:
        """Wait until Triton is ready, give it its models, then remember what it has, until it ends."""
        address = ReplicaAddress(self.host, self.ports.http, self.ports.grpc)
        connections = TritonConnections(address, self.repository, self._trust)
        server = connections.server
        try:
            await self._until_ready(server)
            self._failed_starts = 0
            self._was_ready = True
            self._ready.set()
            _log.info("triton: process %s is ready on port %d", child.pid, self.ports.http)
            await self._load_again(server)
            mender = self._mender(child, server)
            silent_since: float | None = None
            while True:
                await asyncio.sleep(self._poll_s)
                if await server.ready():
                    silent_since = None
                    await self._remember(server)
                    await mender.look()
                    continue
                # From the first question without an answer: that this process itself stood still is not Triton's fault.
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since >= self._hang_timeout_s:
                    raise UpstreamFailure(f"Triton has not answered for {self._hang_timeout_s:g} s")
        finally:
            await connections.aclose()

    async def _until_ready(self, server: TritonModelServer) -> None:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while True:
                    if await server.ready():
                        return
                    await asyncio.sleep(_READY_POLL_S)
        except TimeoutError as error:
            raise UpstreamFailure(f"Triton was not ready within {self._start_timeout_s:g} s") from error

    async def _load_again(self, server: TritonModelServer) -> None:
        for model, versions in dict(self._memory.loaded).items():
            try:
                if model not in await server.occupied():
                    await self._load_what_loads(server, model, versions)
            except PenstockError as error:
                _log.error("triton: model '%s' versions %s not loaded again: %s", model, sorted(versions), error)

    async def _load_what_loads(self, server: TritonModelServer, model: str, versions: frozenset[int]) -> None:
        """Load a set of versions, or without those that do not load: one damaged file must not take down the others."""
        try:
            await server.load(model, versions)
        except (UpstreamFailure, NotFound, IntegrityError) as error:
            if len(versions) == 1:
                raise
            _log.error("triton: model '%s' versions %s not loaded together: %s", model, sorted(versions), error)
            good: frozenset[int] = frozenset()
            for version in sorted(versions):
                try:
                    await server.load(model, good | {version})
                    good |= {version}
                except (UpstreamFailure, NotFound, IntegrityError) as reason:
                    _log.error("triton: model '%s' version %d not loaded again: %s", model, version, reason)
            versions = good
        _log.info("triton: loaded model '%s' versions %s again", model, sorted(versions))

    def _mender(self, child: ChildProcess, server: TritonModelServer) -> Mender:
        def is_python(backend: str) -> bool:
            return backend == "python" or (self._launch.backend_directory / backend / "model.py").is_file()

        async def processes(model: str, version: int) -> int:
            return processes_of(await server.config(model, version), is_python)

        return Mender(server, StubWatch(child.pid or 0, self.repository.root).look, processes, time.monotonic)

    async def _remember(self, server: TritonModelServer) -> None:
        try:
            loaded = await server.loaded()
            if await server.ready():
                self._memory.observe(loaded)
        except PenstockError as error:
            _log.warning("triton: cannot see what is loaded: %s", error)

    async def _clean_up(self, status: int) -> None:
        removed = leftovers.remove_shared_memory(self._prefix)
        if removed:
            _log.info("triton: removed %d shared memory regions that exit status %d left", removed, status)
        self._record.clear()
        if not self._was_ready:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise UpstreamFailure(
                    f"Triton ended {self._failed_starts} times before it was ready; "
                    f"the end of {self.log.path}:\n{self.log.tail()}"
                )


def _tracing(endpoint: str) -> list[str]:
    """Return the options for spans; at rate 0 Triton begins no trace, and continues every one that a request brings."""
    wishes = ("mode=opentelemetry", "rate=0", "level=TIMESTAMPS", f"opentelemetry,url={endpoint}")
    return [f"--trace-config={wish}" for wish in (*wishes, "opentelemetry,resource=service.name=triton")]


def _with_free_ports(asked: TritonPorts, host: str) -> TritonPorts:
    names = [name for name in ("http", "grpc", "metrics") if not getattr(asked, name)]
    return replace(asked, **dict(zip(names, choose_free_ports(len(names), host), strict=True)))
