"""What every ``ModelServer`` promises: a Triton, a group of them, and the fake that the controller is tested with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from services.core.errors import UpstreamFailure
from services.core.replica_address import ReplicaAddress
from services.triton.layout import RepositoryLayout
from services.triton.model_server import ModelServer
from services.triton.model_server_group import ModelServerGroup
from services.triton.triton_members import TritonMembers
from tests.fakes import aio
from tests.fakes.model_server import FakeMembers, FakeModelServer
from tests.fakes.onnx_repository import scale
from tests.fakes.running_triton import RunningTriton

pytestmark = pytest.mark.integration

MODEL = "contract"
Connect = Callable[[], AbstractAsyncContextManager[ModelServer]]


@pytest.fixture(params=["triton", "group", "fake", "group of fakes"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Gives a server that knows versions 1 to 3 of the model, and version 9, which is damaged."""
    if request.param in {"triton", "group"}:
        triton: RunningTriton = request.getfixturevalue("triton")
        scale(triton.repository, name=MODEL)
        return triton.model_server if request.param == "triton" else lambda: group_of(triton)
    fakes = [FakeModelServer(), FakeModelServer()]
    for fake in fakes:
        fake.broken[MODEL, 9] = "damaged"
    group = ModelServerGroup(FakeMembers(fakes))

    @asynccontextmanager
    async def give() -> AsyncIterator[ModelServer]:
        yield fakes[0] if request.param == "fake" else group

    return give


@asynccontextmanager
async def group_of(triton: RunningTriton) -> AsyncIterator[ModelServerGroup]:
    address = ReplicaAddress("127.0.0.1", triton.http_port, triton.grpc_port)
    members = TritonMembers((address,), RepositoryLayout(triton.repository))
    group = ModelServerGroup(members)
    try:
        yield group
    finally:
        await group.aclose()
        await members.aclose()


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


def test_what_is_tolerated_stays_where_it_is_and_is_not_loaded_where_it_is_not(connect: Connect) -> None:
    async def scenario() -> None:
        async with connect() as server:
            await server.load(MODEL, frozenset({1, 2}))
            await server.load(MODEL, frozenset({1}), frozenset({2, 3}))
            assert await loaded(server) == frozenset({1, 2})
            await server.load(MODEL, frozenset({1}))
            await server.load(MODEL, frozenset({1}), frozenset({2, 3}))
            assert await loaded(server) == frozenset({1})
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
