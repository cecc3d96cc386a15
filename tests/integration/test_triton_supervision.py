"""A supervised Triton: what it promises when models change, when it is killed and when it is stopped."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from services.core.errors import NotFound, PenstockError, UpstreamFailure
from services.core.inference import InferRequest
from services.core.tensor import Tensor
from services.triton.finding import Finding
from services.triton.installation import Launch
from services.triton.layout import RepositoryLayout
from services.triton.leftovers import processes_of
from services.triton.locate import locate
from services.triton.supervisor import TritonPorts, TritonSupervisor
from services.triton.triton_model_server import TritonModelServer
from services.triton.triton_upstream import TritonUpstream
from tests.fakes import aio
from tests.fakes.onnx_repository import scale
from tests.fakes.running_triton import RunningTriton, running_triton

pytestmark = pytest.mark.integration

REQUEST = InferRequest("scale", inputs=[Tensor("X", "FP32", (1, 4), np.ones(4, np.float32).tobytes())])
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RunningTriton]:
    """A Triton that the test may kill, with the model ``scale`` in its repository and nothing loaded."""
    scale(tmp_path / "repository")
    with running_triton(tmp_path / "repository", tmp_path / "state") as running:
        yield running


def prefixes(triton: RunningTriton) -> list[str]:
    """The shared memory prefixes of every run that the supervisor's log tells of."""
    found = re.findall(r"penstock_[0-9a-f]{12}_", (triton.state_dir / "triton-run.json").read_text())
    assert found
    return found


def regions(prefix: str) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"{prefix}*"))


def tritonserver_of(triton: RunningTriton) -> psutil.Process | None:
    children = psutil.Process(triton.supervisor.pid).children()
    return next((child for child in children if child.name() == "tritonserver"), None)


async def serves(upstream: TritonUpstream, version: int) -> bool:
    try:
        answer = await upstream.infer(REQUEST, version, 5.0)
    except PenstockError:
        return False
    return answer.version == version


async def serves_not(upstream: TritonUpstream, version: int) -> bool:
    return not await serves(upstream, version)


def stubs_of(triton: RunningTriton) -> dict[int, psutil.Process]:
    """The processes of the versions of ``scale``, which have one each."""
    found: dict[int, psutil.Process] = {}
    for child in psutil.Process(triton.first_pid).children():
        if child.status() != psutil.STATUS_ZOMBIE and "/scale/" in child.cmdline()[1]:
            found[int(Path(child.cmdline()[1]).parent.name)] = child
    return found


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await condition():
            return
        await asyncio.sleep(0.05)


def test_versions_come_and_go_under_load_without_a_lost_request(own: RunningTriton) -> None:
    async def scenario() -> tuple[int, list[BaseException]]:
        async with own.upstream() as upstream, own.model_server() as server:
            await server.load("scale", frozenset({1}))
            answered, failures, done = 0, list[BaseException](), asyncio.Event()

            async def client() -> None:
                nonlocal answered
                while not done.is_set():
                    try:
                        assert (await upstream.infer(REQUEST, 1, 20.0)).version == 1
                        answered += 1
                    except (PenstockError, AssertionError) as error:
                        failures.append(error)

            async with asyncio.TaskGroup() as clients:
                for _ in range(4):
                    clients.create_task(client())
                await _come_and_go(server, upstream)
                done.set()
            return answered, failures

    answered, failures = aio.run(scenario(), timeout_s=90.0)
    assert not failures
    assert answered > 100


async def _come_and_go(server: TritonModelServer, upstream: TritonUpstream) -> None:
    """Change everything about the loaded versions except version 1."""
    await server.load("scale", frozenset({1, 2}))
    assert await serves(upstream, 2)
    await server.load("scale", frozenset({1, 3}))
    assert dict(await server.loaded()) == {"scale": frozenset({1, 3})}
    assert not await serves(upstream, 2)
    # Again at once, while Triton may still be taking it down.
    await server.load("scale", frozenset({1, 2, 3}))
    assert await serves(upstream, 2)
    with pytest.raises(UpstreamFailure, match="version 9"):
        await server.load("scale", frozenset({1, 9}))
    with pytest.raises(NotFound, match="version 77 not in"):
        await server.load("scale", frozenset({1, 77}))
    assert await serves(upstream, 1)


def test_a_load_that_fails_leaves_what_was_loaded(own: RunningTriton) -> None:
    async def scenario() -> None:
        async with own.model_server() as server:
            await server.load("scale", frozenset({1, 2}))
            with pytest.raises(UpstreamFailure, match="No graph was found"):
                await server.load("scale", frozenset({2, 9}))
            assert dict(await server.loaded()) == {"scale": frozenset({1, 2})}
            await server.load("scale", frozenset())
            assert dict(await server.loaded()) == {}
            await server.unload("scale")
            await server.unload("never-seen")

    aio.run(scenario(), timeout_s=60.0)


def test_a_killed_triton_comes_back_with_the_versions_it_had(own: RunningTriton) -> None:
    async def scenario() -> None:
        async with own.upstream() as upstream, own.model_server() as server:
            await server.load("scale", frozenset({1, 3}))
            await eventually(lambda: _remembered(own, '{"scale": [1, 3]}'))
            (prefix,) = prefixes(own)
            assert regions(prefix), "no shared memory, so this test shows nothing"
            os.kill(own.first_pid, signal.SIGKILL)
            await eventually(lambda: serves(upstream, 3))
            assert dict(await server.loaded()) == {"scale": frozenset({1, 3})}
            assert not regions(prefix)
            assert not processes_of(prefix)
            assert prefixes(own) != [prefix]

    aio.run(scenario(), timeout_s=60.0)


async def _remembered(triton: RunningTriton, text: str) -> bool:
    path = triton.state_dir / "triton-loaded.json"
    return path.exists() and path.read_text() == text


def test_a_model_whose_process_was_killed_serves_again_and_nothing_else_is_touched(own: RunningTriton) -> None:
    async def scenario() -> None:
        async with own.upstream() as upstream, own.model_server() as server:
            await server.load("scale", frozenset({1, 2}))
            before = stubs_of(own)
            assert set(before) == {1, 2}
            before[1].kill()
            await eventually(lambda: serves_not(upstream, 1))
            await eventually(lambda: serves(upstream, 1))
            assert dict(await server.loaded()) == {"scale": frozenset({1, 2})}
            after = stubs_of(own)
            assert after[2] == before[2]
            assert after[1] != before[1]
            await asyncio.sleep(3.0)  # Triton collects what ended some seconds later: that must not look like a death
            assert stubs_of(own) == after

    aio.run(scenario(), timeout_s=60.0)
    assert psutil.Process(own.first_pid).is_running()
    assert "the process of model 'scale' version 1 died" in (own.state_dir / "supervisor.log").read_text()


def test_a_model_whose_process_dies_before_anybody_saw_it_serves_again(own: RunningTriton) -> None:
    async def scenario() -> None:
        async with own.upstream() as upstream, own.model_server() as server:
            for _ in range(
                3
            ):  # at once after it was loaded: whether the supervisor has seen it by then, chance decides
                await server.load("scale", frozenset({3}))
                stubs_of(own)[3].kill()
                await eventually(lambda: serves_not(upstream, 3))
                await eventually(lambda: serves(upstream, 3))
                await server.unload("scale")

    aio.run(scenario(), timeout_s=60.0)


def test_a_triton_that_hangs_is_ended_and_started_again(tmp_path: Path) -> None:
    scale(tmp_path / "repository")

    async def scenario() -> None:
        supervisor = TritonSupervisor(
            locate(),
            RepositoryLayout(tmp_path / "repository"),
            tmp_path / "state",
            ports=TritonPorts(0, 0, 0),
            exit_timeout_s=0,
            poll_s=0.1,
            hang_timeout_s=1.0,
        )
        async with supervisor:
            first = supervisor.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            await aio.until(lambda: supervisor.pid not in {first, None})
            assert supervisor.restarts == 1

    aio.run(scenario(), timeout_s=60.0)


def test_one_damaged_version_does_not_keep_the_others_from_coming_back(own: RunningTriton) -> None:
    async def scenario() -> None:
        async with own.upstream() as upstream, own.model_server() as server:
            await server.load("scale", frozenset({1, 2, 3}))
            await eventually(lambda: _remembered(own, '{"scale": [1, 2, 3]}'))
            (own.repository / "scale" / "2" / "model.onnx").write_bytes(b"damaged since")
            os.kill(own.first_pid, signal.SIGKILL)
            await eventually(lambda: serves(upstream, 1))
            await eventually(lambda: serves(upstream, 3))
            assert not await serves(upstream, 2)

    aio.run(scenario(), timeout_s=60.0)


def test_a_stop_leaves_neither_processes_nor_shared_memory(own: RunningTriton) -> None:
    own.load("scale", 1, 2)
    (prefix,) = prefixes(own)
    assert len(processes_of(prefix)) >= 3
    assert own.stop() == 0
    assert not processes_of(prefix)
    assert not regions(prefix)
    assert not (own.state_dir / "triton-run.json").exists()


def test_triton_ends_with_a_supervisor_that_was_killed(own: RunningTriton) -> None:
    own.load("scale", 1)
    (prefix,) = prefixes(own)
    own.supervisor.kill()
    own.supervisor.wait(20)
    _, living = psutil.wait_procs(processes_of(prefix), timeout=30)
    assert not living


def test_a_new_supervisor_ends_and_cleans_what_a_killed_one_left_and_serves_the_same(own: RunningTriton) -> None:
    own.load("scale", 2)
    aio.run(eventually(lambda: _remembered(own, '{"scale": [2]}')))
    (prefix,) = prefixes(own)
    # Stopped, Triton cannot follow the signal that its parent's death sends: it is really left over.
    server = psutil.Process(own.first_pid)
    server.suspend()
    own.supervisor.kill()
    own.supervisor.wait(20)
    assert server.is_running()
    with running_triton(own.repository, own.state_dir, exit_timeout_s=0) as again:

        async def scenario() -> None:
            async with again.upstream() as upstream:
                await eventually(lambda: serves(upstream, 2))

        aio.run(scenario(), timeout_s=30.0)
        assert not server.is_running()
        assert not processes_of(prefix)
        assert not regions(prefix)
        assert again.stop() == 0


def test_two_supervisors_do_not_share_a_state_directory(own: RunningTriton) -> None:
    with pytest.raises(AssertionError, match="already running"), running_triton(own.repository, own.state_dir):
        pass
    assert tritonserver_of(own) is not None


def test_a_triton_that_cannot_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    class Broken:
        executable = Path("/bin/sh")

        def findings(self) -> list[Finding]:
            return []

        def prepare(self, directory: Path) -> Launch:
            script = directory / "tritonserver"
            directory.mkdir(parents=True, exist_ok=True)
            script.write_text("#!/bin/sh\necho the reason, line one\nexit 7\n")
            script.chmod(0o755)
            return Launch(script, directory, dict(os.environ))

    async def scenario() -> None:
        supervisor = TritonSupervisor(
            Broken(), RepositoryLayout(tmp_path), tmp_path / "state", ports=TritonPorts(0, 0, 0)
        )
        with pytest.raises(UpstreamFailure, match="the reason, line one"):
            await supervisor.start()
        assert supervisor.pid is None

    aio.run(scenario())
