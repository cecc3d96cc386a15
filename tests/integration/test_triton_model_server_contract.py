"""What every ``ModelServer`` promises: the real one and the fake that the controller is tested with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from services.core.errors import UpstreamFailure
from services.triton.model_server import ModelServer
from tests.fakes import aio
from tests.fakes.model_server import FakeModelServer
from tests.fakes.onnx_repository import scale
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

MODEL = "contract"
Connect = Callable[[], AbstractAsyncContextManager[ModelServer]]


@pytest.fixture(params=["real", "fake"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Gives a server that knows versions 1 to 3 of the model, and version 9, which is damaged."""
    if request.param == "real":
        triton: RunningTriton = request.getfixturevalue("triton")
        scale(triton.repository, name=MODEL)
        return triton.model_server
    fake = FakeModelServer()
    fake.broken[MODEL, 9] = "damaged"

    @asynccontextmanager
    async def give() -> AsyncIterator[ModelServer]:
        yield fake

    return give


async def loaded(server: ModelServer) -> frozenset[int] | None:
    return (await server.loaded()).get(MODEL)


def test_a_load_means_exactly_these_versions(connect: Connect) -> None:
    async def scenario() -> None:
        async with connect() as server:
            for versions in ({1}, {1}, {1, 2}, {2, 3}, {1}):
                await server.load(MODEL, frozenset(versions))
                assert await loaded(server) == frozenset(versions)
            await server.load(MODEL, frozenset())
            assert await loaded(server) is None

    aio.run(scenario(), timeout_s=60.0)


def test_a_version_that_does_not_load_changes_nothing(connect: Connect) -> None:
    async def scenario() -> None:
        async with connect() as server:
            await server.load(MODEL, frozenset({1}))
            with pytest.raises(UpstreamFailure, match="version 9"):
                await server.load(MODEL, frozenset({1, 9}))
            assert await loaded(server) == frozenset({1})
            assert await server.ready()
            await server.unload(MODEL)

    aio.run(scenario(), timeout_s=60.0)


def test_unloading_what_is_not_loaded_is_fine(connect: Connect) -> None:
    async def scenario() -> None:
        async with connect() as server:
            await server.load(MODEL, frozenset({2}))
            for _ in range(2):
                await server.unload(MODEL)
                assert await loaded(server) is None

    aio.run(scenario(), timeout_s=60.0)
