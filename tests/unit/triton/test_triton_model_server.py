"""``TritonModelServer`` against a scripted server: what a real Triton does too rarely to be waited for."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from services.core.errors import DeadlineExceeded, IntegrityError, NotFound, UpstreamFailure
from services.triton.http import HttpPool
from services.triton.layout import RepositoryLayout
from services.triton.triton_model_server import TritonModelServer
from tests.fakes import aio
from tests.fakes.model_control import FakeModelControl
from tests.fakes.triton_http import Step, answer, scripted_server, silence


@pytest.fixture
def layout(tmp_path: Path) -> RepositoryLayout:
    for version in (1, 2):
        (tmp_path / "m" / str(version)).mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text('backend: "onnxruntime" version_policy { all {} } max_batch_size: 8')
    return RepositoryLayout(tmp_path)


def index(**states: str) -> Step:
    rows = [{"name": "m", "version": version.lstrip("v"), "state": state} for version, state in states.items()]
    return answer(orjson.dumps([*rows, {"name": "never-loaded"}]))


def test_a_load_names_the_exact_versions_and_waits_until_they_are_ready(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        control = FakeModelControl()
        steps = (
            index(v1="READY"),
            index(v1="READY", v2="LOADING"),
            index(v1="READY", v2="READY", v3="READY"),
            index(v1="READY", v2="READY", v3="UNLOADING"),
        )
        async with scripted_server(*steps) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await TritonModelServer(pool, control, layout, poll_s=0.001).load("m", frozenset({2, 1}))
            await pool.aclose()
        assert len(server.exchanges) == 4
        (config,) = control.configs
        assert config["version_policy"] == {"specific": {"versions": ["1", "2"]}}
        assert (config["name"], config["max_batch_size"]) == ("m", 8)

    aio.run(scenario())


def test_versions_that_never_become_ready_end_in_a_deadline(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        async with scripted_server(*[index(v1="LOADING")] * 1000) as server:
            pool = HttpPool("127.0.0.1", server.port)
            slow = TritonModelServer(pool, FakeModelControl(), layout, load_timeout_s=0.1, poll_s=0.01)
            with pytest.raises(DeadlineExceeded, match="'m' version 1 not READY within"):
                await slow.load("m", frozenset({1}))
            await pool.aclose()

    aio.run(scenario())


def test_a_triton_that_hangs_ends_in_a_deadline(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        for stuck in (False, True):
            async with scripted_server(silence()) as server:
                pool, control = HttpPool("127.0.0.1", server.port), FakeModelControl()
                control.stuck = stuck
                with pytest.raises(DeadlineExceeded):
                    await TritonModelServer(pool, control, layout, load_timeout_s=0.05).load("m", frozenset({1}))
                await pool.aclose()

    aio.run(scenario())


def test_a_version_that_becomes_unavailable_meanwhile_is_a_failure_with_its_reason(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        row = {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "out of memory"}
        async with scripted_server(index(), answer(orjson.dumps([row]))) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(UpstreamFailure, match="version 1: out of memory"):
                await TritonModelServer(pool, FakeModelControl(), layout).load("m", frozenset({1}))
            await pool.aclose()

    aio.run(scenario())


def test_a_version_that_is_not_what_was_published_is_refused_and_one_that_runs_already_is_left(
    layout: RepositoryLayout,
) -> None:
    async def scenario() -> None:
        (layout.root / "m" / "1" / "manifest.json").write_text("damaged since it was loaded")
        control = FakeModelControl()
        async with scripted_server(index(v1="READY"), index(v1="READY", v2="READY"), index()) as server:
            pool = HttpPool("127.0.0.1", server.port)
            triton = TritonModelServer(pool, control, layout, poll_s=0.001)
            await triton.load("m", frozenset({1, 2}))
            with pytest.raises(IntegrityError, match=r"m.1.manifest\.json"):
                await triton.load("m", frozenset({1}))
            await pool.aclose()
        assert len(control.configs) == 1

    aio.run(scenario())


def test_a_version_that_was_not_published_is_refused_before_triton_is_asked(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        async with scripted_server() as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(NotFound, match="version 3 not in"):
                await TritonModelServer(pool, FakeModelControl(), layout).load("m", frozenset({1, 3}))
            await pool.aclose()
        assert not server.exchanges

    aio.run(scenario())


@pytest.mark.parametrize("body", [b"{}x", b'{"a": 1}', b'[{"name": "m", "version": "x"}]', b"[3]"])
def test_an_index_that_makes_no_sense_is_the_upstreams_failure(layout: RepositoryLayout, body: bytes) -> None:
    async def scenario() -> None:
        async with scripted_server(answer(body)) as server:
            pool = HttpPool("127.0.0.1", server.port)
            with pytest.raises(UpstreamFailure, match="repository index"):
                await TritonModelServer(pool, FakeModelControl(), layout).loaded()
            await pool.aclose()

    aio.run(scenario())


def test_a_model_that_is_loading_is_occupied_before_it_is_loaded(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        async with scripted_server(*[index(v1="LOADING")] * 2, *[index(v1="UNAVAILABLE")] * 2) as server:
            pool = HttpPool("127.0.0.1", server.port)
            triton = TritonModelServer(pool, FakeModelControl(), layout)
            assert (await triton.occupied(), dict(await triton.loaded())) == (frozenset({"m"}), {})
            assert (await triton.occupied(), dict(await triton.loaded())) == (frozenset(), {})
            await pool.aclose()

    aio.run(scenario())


@pytest.mark.parametrize(("present", "expected"), [({1, 2}, ["1", "2"]), ({1}, ["1"]), ({2}, ["1", "2"])])
def test_what_is_tolerated_stays_where_it_is_and_is_not_loaded_where_it_is_not(
    layout: RepositoryLayout, present: set[int], expected: list[str]
) -> None:
    async def scenario() -> None:
        control = FakeModelControl()
        before = index(**{f"v{version}": "READY" for version in present})
        after = index(**{f"v{version}": "READY" for version in expected})
        async with scripted_server(before, after) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await TritonModelServer(pool, control, layout).load("m", frozenset({1}), frozenset({1, 2}))
            await pool.aclose()
        assert control.configs[0]["version_policy"] == {"specific": {"versions": expected}}

    aio.run(scenario())


def test_nothing_wanted_and_nothing_tolerated_there_unloads_the_model(layout: RepositoryLayout) -> None:
    async def scenario() -> None:
        control = FakeModelControl()
        async with scripted_server(index(v3="READY"), index(v3="READY"), index(v3="UNLOADING")) as server:
            pool = HttpPool("127.0.0.1", server.port)
            await TritonModelServer(pool, control, layout, poll_s=0.001).load("m", frozenset(), frozenset({2}))
            await pool.aclose()
        assert (control.configs, control.unloaded) == ([], ["m"])

    aio.run(scenario())
