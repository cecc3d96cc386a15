"""A gateway that follows a DNS name by the system's own resolver: what comes is used, what goes is left.

The name is in an ``/etc/hosts`` that only the gateway sees (a mount namespace). Behind both addresses is one real
Triton, once by itself and once through a relay that counts.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import pytest

from services.core.route import Route, RouteTable
from services.triton.http import HttpPool
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually, in_loop
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

FIRST, SECOND = "127.0.0.1", "127.0.0.2"
NAME = "tritons.test"
BODY = orjson.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
_EVERY_S = 0.2


class Relay:
    """A second address of one Triton.

    Attributes:
        inferences: Requests that came through it.
    """

    def __init__(self, port: int) -> None:
        self.inferences = 0
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Relay]:
        server = await asyncio.start_server(self._serve, SECOND, self._port)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await asyncio.open_connection(FIRST, self._port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, back, count=True))
                group.create_task(self._pump(there, writer, count=False))
        except* OSError:
            pass
        finally:
            writer.close()
            back.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        while data := await reader.read(1 << 16):
            if count:
                self.inferences += data.count(b"/infer HTTP/1.1")
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()


class Hosts:
    """The gateway's own ``/etc/hosts``, which is all it knows; written in place, for the mount shows this very file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hosts"
        self._switch = folder / "nsswitch.conf"
        self._switch.write_text("hosts: files\n", encoding="utf-8")

    def say(self, *addresses: str) -> None:
        lines = ["127.0.0.1 localhost", *(f"{address} {NAME}" for address in addresses)]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def before(self) -> Sequence[str]:
        """What becomes a program that sees it."""
        mount = 'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf && exec "$@"'
        return "unshare", "--mount", "sh", "-c", mount, str(self.path.parent)


@asynccontextmanager
async def asking(gateway: GatewayProcess) -> AsyncIterator[list[int]]:
    """Send requests all the time; gives their statuses."""
    statuses: list[int] = []
    pool = HttpPool("127.0.0.1", gateway.ports["REST"])

    async def ask() -> None:
        while True:
            response = await pool.request("POST", "/v2/models/scale/infer", {}, [BODY], 10.0)
            statuses.append(response.status)

    tasks = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        yield statuses
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await pool.aclose()
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    """Hosts that a mount namespace can show."""
    found = Hosts(tmp_path)
    found.say()
    if subprocess.run([*found.before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a mount namespace needs more rights than there are here")
    return found


@in_loop
async def test_replicas_that_come_and_go_under_a_name_are_followed_and_no_request_is_lost(
    triton: RunningTriton, tmp_path: Path, hosts: Hosts
) -> None:
    hosts.say(FIRST)
    config = tmp_path / "penstock.yaml"
    config.write_text(f"gateway: {{replicas: {{resolve_interval_s: {_EVERY_S}}}}}\n", encoding="utf-8")
    relay = Relay(triton.http_port)
    async with controlling() as controller, relay.serving():
        await controller.publish(RouteTable(1, {"scale": Route("scale", 1, versions=frozenset({1}))}))
        options = ("--triton", f"dns:{NAME}:{triton.http_port}/{triton.grpc_port}", "--config", str(config))
        async with gateway_process(
            tmp_path / "state", 1, controller.port, *options, workers=1, before=hosts.before
        ) as gateway:
            await gateway.announced()
            await eventually((tmp_path / "state" / "routes.json").exists)
            async with asking(gateway) as statuses:
                await eventually(lambda: len(statuses) > 50)
                assert relay.inferences == 0

                hosts.say(FIRST, SECOND)
                await eventually(lambda: relay.inferences > 50)
                assert await _attempts(gateway, FIRST, triton) > 0

                hosts.say(SECOND)
                seen = await _rested(gateway, FIRST, triton)
                count = relay.inferences
                await eventually(lambda: relay.inferences > count + 50)
                assert await _attempts(gateway, FIRST, triton) == seen, "nothing goes where the name does not point"

                hosts.say()
                await asyncio.sleep(3 * _EVERY_S)
                count = relay.inferences
                await eventually(lambda: relay.inferences > count + 50)
            assert set(statuses) == {200}
            await gateway.terminate()
            assert f"dns:{NAME}" in gateway.errors, "that nobody knows the name any more is said"


async def _rested(gateway: GatewayProcess, host: str, triton: RunningTriton) -> float:
    """Wait until nothing goes there for a while, and return how many requests did."""
    before = -1.0
    while (seen := await _attempts(gateway, host, triton)) != before:
        before = seen
        await asyncio.sleep(3 * _EVERY_S)
    return seen


async def _attempts(gateway: GatewayProcess, host: str, triton: RunningTriton) -> float:
    return await gateway.metric("penstock_attempts_total", replica=f"{host}:{triton.http_port}")
