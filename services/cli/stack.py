"""Triton, controller and gateway on one machine: the processes that Kubernetes runs as pods, supervised here.

Each is the ``penstock`` verb of its name, started again with backoff when it dies, so that any one of them can be
killed while the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
import yaml

from services.cli.earlier_run import PART_MODULE, up_lock
from services.cli.settings import TRITON_PORTS, Settings, in_clear, listening, setting_of
from services.core.address import Address
from services.core.errors import ConfigurationError, Unavailable
from services.process.backoff import Backoff
from services.process.bounded_log import BoundedLog
from services.process.child import ChildProcess
from services.process.ports import choose_free_ports, ensure_free
from services.process.supervised import Supervised

_POLL_S = 0.1
_READY_TIMEOUT_S = 90.0
_TRITON_EXTRA_GRACE_S = 20.0
_CONTROLLER_GRACE_S = 10.0
_GATEWAY_EXTRA_GRACE_S = 10.0
# A part that died this often before everything was up will not come up by itself.
_MOST_STARTS = 3


@dataclass(frozen=True, slots=True)
class TritonEndpoint:
    """Where one Triton listens."""

    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    memory_port: int

    @property
    def replica(self) -> str:
        """HOST:HTTPPORT/GRPCPORT/MEMORYPORT."""
        return f"{Address(self.host, self.http_port)}/{self.grpc_port}/{self.memory_port}"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where everything listens, every port chosen."""

    gateway_host: str
    controller_host: str
    gateway_http_port: int
    gateway_grpc_port: int
    gateway_metrics_port: int
    controller_http_port: int
    controller_grpc_port: int
    tritons: tuple[TritonEndpoint, ...]

    @property
    def rest(self) -> str:
        """HOST:PORT of the gateway's REST edge."""
        return str(Address(self.gateway_host, self.gateway_http_port))

    @property
    def grpc(self) -> str:
        """HOST:PORT of the gateway's gRPC edge."""
        return str(Address(self.gateway_host, self.gateway_grpc_port))

    @property
    def triton_rest(self) -> str:
        """HOST:PORT of the first Triton's HTTP endpoint."""
        return str(Address(self.tritons[0].host, self.tritons[0].http_port))

    @property
    def triton_grpc(self) -> str:
        """HOST:PORT of the first Triton's gRPC endpoint."""
        return str(Address(self.tritons[0].host, self.tritons[0].grpc_port))

    @property
    def triton_replicas(self) -> str:
        """All Tritons, as the settings ``gateway.triton`` and ``controller.triton`` take them."""
        return ",".join(triton.replica for triton in self.tritons)

    @property
    def metrics_url(self) -> str:
        """URL of the gateway's metrics."""
        return f"http://{Address(self.gateway_host, self.gateway_metrics_port)}/metrics"

    @property
    def controller_url(self) -> str:
        """URL of the controller's REST."""
        return f"http://{Address(self.controller_host, self.controller_http_port)}"


def choose_endpoints(settings: Settings) -> Endpoints:
    """Return the addresses of the settings, with every 0 replaced by a free port.

    Raises:
        ConfigurationError: A port is taken; the message names the setting.
    """
    asked = listening(settings)
    problems: list[str] = []
    seen: dict[int, str] = {}
    for name, (host, port) in asked.items():
        if port and port in seen:
            problems.append(f"{name} and {seen[port]} are both {port}; give each a port of its own")
        seen[port] = name
        try:
            ensure_free(host, port, name)
        except ConfigurationError as error:
            problems.append(error.message)
    if problems:
        raise ConfigurationError("\n".join(problems))
    free = iter(choose_free_ports(len(asked)))
    ports = {name: port or next(free) for name, (_, port) in asked.items()}
    host, replicas = settings.triton.host, settings.triton.replicas
    tritons = tuple(
        TritonEndpoint(host, *(ports[setting_of(name, number)] for name in TRITON_PORTS)) for number in range(replicas)
    )
    return Endpoints(
        gateway_host=settings.gateway.host,
        controller_host=settings.controller.host,
        gateway_http_port=ports["gateway.http_port"],
        gateway_grpc_port=ports["gateway.grpc_port"],
        gateway_metrics_port=ports["gateway.metrics_port"],
        controller_http_port=ports["controller.http_port"],
        controller_grpc_port=ports["controller.grpc_port"],
        tritons=tritons,
    )


def longest_end_s(settings: Settings) -> float:
    """Return how long the slowest part may take to end, seconds."""
    return max(_gateway_grace_s(settings), _CONTROLLER_GRACE_S, _triton_grace_s(settings))


def _gateway_grace_s(settings: Settings) -> float:
    return settings.gateway.limits.drain_s + settings.gateway.mirroring.drain_s + _GATEWAY_EXTRA_GRACE_S


def _triton_grace_s(settings: Settings) -> float:
    return settings.triton.exit_timeout_s + _TRITON_EXTRA_GRACE_S


class Stack:
    """The three parts, from their start to their end.

    Args:
        settings: What to run and where.
        endpoints: Every address, chosen.
    """

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self.endpoints = endpoints
        self._settings = settings
        self._state_dir = settings.state_dir.absolute()
        self.tritons = [self._triton(number) for number in range(settings.triton.replicas)]
        self.controller = self._part("controller", "controller", self._state_dir, _CONTROLLER_GRACE_S)
        self.gateway = self._part("gateway", "gateway", self._state_dir, _gateway_grace_s(settings))
        self.parts = (*self.tritons, self.controller, self.gateway)

    @contextlib.asynccontextmanager
    async def running(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Start everything, wait until it serves, and end it in order: gateway, controller, Triton.

        Args:
            stop: Ends the wait early when it is set; the caller looks at it again.

        Raises:
            ConfigurationError: Another ``penstock up`` uses the state directory.
            Unavailable: A part did not come up; the end of its log is in the message.
        """
        with up_lock(self._state_dir):
            self._write_settings()
            tasks = [asyncio.create_task(part.run(), name=part.name) for part in self.parts]
            try:
                await _first_of(self._serving(), stop.wait(), tasks)
                self._write_run_file()
                yield
            finally:
                (self._state_dir / "run.json").unlink(missing_ok=True)
                await self._stop(tasks)

    async def _serving(self) -> None:
        """Wait until the gateway says that it is ready, and with it every model that is published."""
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S), httpx2.AsyncClient(timeout=2.0, trust_env=False) as client:
                await self._until(lambda: _answers(client, f"{self.endpoints.controller_url}/readyz"))
                await self._until(lambda: _answers(client, f"http://{self.endpoints.rest}/v2/health/ready"))
                await self._until(lambda: self._models_ready(client))
        except TimeoutError as error:
            raise Unavailable(f"not serving after {_READY_TIMEOUT_S:g} s\n{self._log_tails()}") from error

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            for part in self.parts:
                if part.starts >= _MOST_STARTS:
                    raise Unavailable(f"{part.name} died {part.starts - 1} times while starting\n{self._tail(part)}")
            await asyncio.sleep(_POLL_S)

    async def _models_ready(self, client: httpx2.AsyncClient) -> bool:
        """Whether the controller has dealt with every published model, one way or the other."""
        try:
            answer = await client.get(f"{self.endpoints.controller_url}/v1/models")
        except httpx2.HTTPError:
            return False
        if not answer.is_success:
            return False
        for model in answer.json()["models"]:
            if model["stable"] is None and model["problem"] is None and model["published"]:
                return False
            if model["stable"] is not None:
                url = f"http://{self.endpoints.rest}/v2/models/{model['model']}/ready"
                if not await _answers(client, url):
                    return False
        return True

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        await self.gateway.stop()
        await self.controller.stop()
        await asyncio.gather(*(triton.stop() for triton in self.tritons))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _triton(self, number: int) -> Supervised:
        endpoint = self.endpoints.tritons[number]
        # The first one has the state directory itself, so that a single Triton's files stay where they were.
        state_dir = self._state_dir / f"triton-{number + 1}" if number else self._state_dir
        ports = (
            *("--http-port", str(endpoint.http_port)),
            *("--grpc-port", str(endpoint.grpc_port)),
            *("--metrics-port", str(endpoint.metrics_port)),
            *("--memory-port", str(endpoint.memory_port)),
        )
        name = f"triton-{number + 1}" if number else "triton"
        return self._part(name, "triton", state_dir, _triton_grace_s(self._settings), ports)

    def _part(self, name: str, verb: str, state_dir: Path, grace_s: float, flags: tuple[str, ...] = ()) -> Supervised:
        log = BoundedLog(self._log_path(name))
        # --state-dir says to a later run whose part this is (earlier_run.py).
        own = ("--config", str(self._settings_path), "--state-dir", str(state_dir))
        argv = [sys.executable, "-m", PART_MODULE, verb, *own, *flags]
        # The settings are in the file already; a child must not read them a second time.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PENSTOCK_")}
        environment["PYTHONUNBUFFERED"] = "1"
        return Supervised(
            name,
            lambda: ChildProcess(argv, env=environment, log=log),
            backoff=Backoff(first_s=0.2, most_s=10.0, healthy_s=30.0),
            grace_s=grace_s,
            log=log,
        )

    @property
    def _settings_path(self) -> Path:
        return self._state_dir / "settings.yaml"

    def _write_settings(self) -> None:
        """Write the settings in force, with every address chosen, for the parts to read."""
        endpoints = self.endpoints
        document = in_clear(self._settings)
        document["repository"] = str(self._settings.repository.absolute())
        document["state_dir"] = str(self._state_dir)
        if self._settings.public_key is not None:
            document["public_key"] = str(self._settings.public_key.absolute())
        if executable := self._settings.triton.executable:
            document["triton"]["executable"] = str(executable.absolute())
        document["controller"] |= {
            "http_port": endpoints.controller_http_port,
            "grpc_port": endpoints.controller_grpc_port,
            "triton": endpoints.triton_replicas,
        }
        document["gateway"] |= {
            "http_port": endpoints.gateway_http_port,
            "grpc_port": endpoints.gateway_grpc_port,
            "metrics_port": endpoints.gateway_metrics_port,
            "triton": endpoints.triton_replicas,
            "controller": str(Address(endpoints.controller_host, endpoints.controller_grpc_port)),
        }
        _write_for_owner(self._settings_path, yaml.safe_dump(document, sort_keys=False))

    def _log_path(self, name: str) -> Path:
        return self._state_dir / "logs" / f"{name}.log"

    def _tail(self, part: Supervised) -> str:
        return f"end of {self._log_path(part.name)}:\n{BoundedLog(self._log_path(part.name)).tail()}"

    def _log_tails(self) -> str:
        return "\n".join(self._tail(part) for part in self.parts)

    def _write_run_file(self) -> None:
        parts = {part.name: part.pid for part in self.parts}
        document = {"pid": os.getpid(), "parts": parts, "endpoints": asdict(self.endpoints)}
        (self._state_dir / "run.json").write_text(json.dumps(document, indent=2) + "\n")


def _write_for_owner(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment: it holds secrets. One that was there is replaced."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


async def _answers(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx2.HTTPError:
        return False


async def _first_of(
    serving: Coroutine[Any, Any, None], stopped: Coroutine[Any, Any, Any], parts: list[asyncio.Task[None]]
) -> None:
    """Wait until everything serves or was told to stop, or raise what a part's task raised."""
    waiting = [asyncio.create_task(serving), asyncio.create_task(stopped)]
    try:
        done, _ = await asyncio.wait([*waiting, *parts], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
