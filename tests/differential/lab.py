"""Two Tritons with the same models, one of them behind a gateway: what is sent to one side cannot show on the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar

from services.core.route import Route, RouteTable
from tests.differential.answers import Seen, Side, connected
from tests.differential.grpc_forms import GrpcRequest
from tests.differential.rest import RestRequest
from tests.differential.survivable import is_mixed
from tests.fakes.controller import controlling
from tests.fakes.gateway import eventually
from tests.fakes.gateway_process import GatewayProcess, gateway_process
from tests.fakes.running_triton import RunningTriton, running_triton
from tests.fakes.triton_zoo.repository import build_zoo

Result = TypeVar("Result")
_START_S = 120.0
# A table sends a request without a version to the stable one, and Triton to the newest: here they are the same.
_STABLE = {"pair": 2}


class Lab:
    """Both sides, and the loop that they are spoken to in."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        bare: RunningTriton,
        behind: RunningTriton,
        gateway: GatewayProcess,
        direct: Side,
        through: Side,
    ) -> None:
        self.bare, self.behind, self.gateway = bare, behind, gateway
        self.direct, self.through = direct, through
        self._loop = loop

    def run(self, work: Awaitable[Result]) -> Result:
        """Run something in the lab's loop, from any other thread."""

        async def wait() -> Result:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(_START_S)

    def both(self, request: RestRequest | GrpcRequest) -> tuple[Seen, Seen]:
        """Send a request to both sides and return the answers: direct, through the gateway.

        A stream that a bare Triton does not survive is sent there as a stream for each of its requests: what a request
        is answered with does not depend on its company.
        """

        async def ask() -> tuple[Seen, Seen]:
            alone = self.direct.apart if is_mixed(request) else self.direct.ask
            direct, through = await asyncio.gather(alone(request), self.through.ask(request))
            return direct, through

        return self.run(ask())


@contextmanager
def lab(root: Path) -> Iterator[Lab]:
    """Start everything, in this process's children, and end it with the context."""
    with zoo(root / "bare") as bare, zoo(root / "behind") as behind, looping() as loop:
        opened = _opened(loop, bare, behind, root / "gateway")
        found = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(_START_S)
        try:
            yield found
        finally:
            asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(_START_S)


@contextmanager
def zoo(root: Path) -> Iterator[RunningTriton]:
    """Run a Triton with every model of the zoo loaded."""
    models = build_zoo(root / "repository")
    with running_triton(root / "repository", root / "state") as triton:
        for model, versions in models.items():
            triton.load(model, *versions)
        yield triton


@asynccontextmanager
async def gateway_before(triton: RunningTriton, state_dir: Path, *options: str) -> AsyncIterator[GatewayProcess]:
    """Run a gateway with one worker in front of a zoo."""
    async with triton.model_server() as server:
        loaded = await server.loaded()
    routes = {name: Route(name, _STABLE.get(name, 1), versions=found) for name, found in loaded.items()}
    async with controlling() as controller:
        await controller.publish(RouteTable(1, routes))
        replica = f"{triton.http_port}/{triton.grpc_port}"
        async with gateway_process(state_dir, replica, controller.port, *options, workers=1) as gateway:
            await gateway.announced()
            await eventually((state_dir / "routes.json").exists)
            yield gateway


@asynccontextmanager
async def _opened(
    loop: asyncio.AbstractEventLoop, bare: RunningTriton, behind: RunningTriton, state_dir: Path
) -> AsyncIterator[Lab]:
    async with (
        gateway_before(behind, state_dir) as gateway,
        connected(bare.http_port, bare.grpc_port) as direct,
        connected(gateway.ports["REST"], gateway.ports["gRPC"]) as through,
    ):
        yield Lab(loop, bare=bare, behind=behind, gateway=gateway, direct=direct, through=through)


@contextmanager
def looping() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="lab")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
