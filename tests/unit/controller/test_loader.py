import pytest

from services.controller.versions.loader import Loader, Refusal
from tests.fakes.clock import FakeClock
from tests.fakes.model_server import FakeModelServer

pytestmark = pytest.mark.anyio
ONE, BOTH = frozenset({1}), frozenset({1, 2})


async def test_one_load_of_a_model_is_under_way_at_a_time() -> None:
    server = FakeModelServer()
    async with Loader(server, FakeClock()) as loader:
        loader.ensure("m", BOTH)
        loader.ensure("m", ONE)
        await loader.idle()
        assert server.loads == [("m", BOTH)]


async def test_a_refusal_is_told_once_with_its_reason() -> None:
    server = FakeModelServer()
    server.broken = {("m", 2): "no such operator"}
    async with Loader(server, FakeClock()) as loader:
        loader.ensure("m", BOTH)
        await loader.idle()
        assert loader.take_refusal("m") == Refusal(BOTH, "version 2: no such operator")
        assert loader.take_refusal("m") is None
        assert "no such operator" in (loader.problem("m") or "")


async def test_an_absent_server_is_no_refusal() -> None:
    server = FakeModelServer()
    server.away = True
    async with Loader(server, FakeClock()) as loader:
        loader.ensure("m", ONE)
        await loader.idle()
        assert loader.take_refusal("m") is None
        assert "away" in (loader.problem("m") or "")


async def test_a_load_that_failed_is_repeated_less_and_less_often_and_another_at_once() -> None:
    server, clock = FakeModelServer(), FakeClock()
    server.broken = {("m", 2): "no such operator"}
    async with Loader(server, clock) as loader:
        for _ in range(120):
            loader.ensure("m", BOTH)
            await loader.idle()
            clock.advance(1.0)
        assert 5 <= len(server.loads) <= 10
        before = len(server.loads)
        loader.ensure("m", ONE)
        await loader.idle()
        assert len(server.loads) == before + 1
        assert loader.problem("m") is None


async def test_a_load_that_does_not_end_is_given_up() -> None:
    server = FakeModelServer()
    server.stuck = {"m"}
    async with Loader(server, FakeClock(), timeout_s=0.01) as loader:
        loader.ensure("m", ONE)
        await loader.idle()
        assert loader.problem("m") == "not loaded within 0.01 s"


async def test_leaving_cancels_what_is_under_way() -> None:
    server = FakeModelServer()
    server.stuck = {"m"}
    loader = Loader(server, FakeClock())
    async with loader:
        loader.ensure("m", ONE)
    await loader.idle()
    assert server.versions == {}
