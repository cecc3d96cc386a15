"""A new ``up`` waits for what a killed one left, and for nothing else."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from services.cli.earlier_run import let_earlier_run_end, parts_left, up_lock
from services.core.errors import ConfigurationError
from tests.fakes import aio

Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that only sleeps, with a command line of our choice, and return its number."""
    started: list[subprocess.Popen[bytes]] = []

    def stand_in(*arguments: str, seconds: float = 60.0) -> int:
        program = f"import time; time.sleep({seconds})"
        started.append(subprocess.Popen([sys.executable, "-c", program, *arguments]))
        pid = started[-1].pid
        while psutil.Process(pid).cmdline()[-len(arguments) :] != list(arguments):
            pass  # between fork and exec it is still called as we are
        return pid

    yield stand_in
    for process in started:
        process.kill()
        process.wait()


def _wait(state_dir: Path, timeout_s: float, said: list[str], stop: asyncio.Event | None = None) -> None:
    async def wait() -> None:
        await let_earlier_run_end(state_dir, timeout_s, stop or asyncio.Event(), said.append)

    aio.run(wait())


def test_parts_and_tritons_of_this_state_directory_are_known_and_no_others(start: Start, tmp_path: Path) -> None:
    mine, other = str(tmp_path / "state"), str(tmp_path / "state-2")
    expected = {
        start("services.cli.main", "triton", "--state-dir", mine),
        start("services.cli.main", "gateway", "--http-port", "0", "--state-dir", mine),
        start("tritonserver", f"--backend-directory={mine}/triton-1/backends"),
    }
    start("services.cli.main", "up", "--state-dir", mine)
    start("services.cli.main", "triton", "--state-dir", other)
    start("tritonserver", f"--backend-directory={other}/triton-1/backends")
    start("tail", f"{mine}/logs/triton.log")
    assert set(parts_left(tmp_path / "state")) == expected


def test_parts_that_are_ending_are_waited_for(start: Start, tmp_path: Path) -> None:
    pid = start("services.cli.main", "triton", "--state-dir", str(tmp_path), seconds=0.5)
    said: list[str] = []
    _wait(tmp_path, 30.0, said)
    assert said == [f"waiting for the end of an earlier run: process {pid}"]
    assert parts_left(tmp_path) == []


def test_parts_that_do_not_end_are_named(start: Start, tmp_path: Path) -> None:
    pid = start("services.cli.main", "triton", "--state-dir", str(tmp_path))
    with pytest.raises(ConfigurationError, match=rf"still uses .*: process {pid};"):
        _wait(tmp_path, 0.1, [])


def test_a_stop_ends_the_wait(start: Start, tmp_path: Path) -> None:
    start("services.cli.main", "triton", "--state-dir", str(tmp_path))
    stop = asyncio.Event()
    stop.set()
    _wait(tmp_path, 60.0, [], stop)


def test_a_run_that_lives_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    start("services.cli.main", "triton", "--state-dir", str(tmp_path))
    with up_lock(tmp_path), pytest.raises(ConfigurationError, match="is already running"):
        _wait(tmp_path, 60.0, [])


def test_with_nothing_left_nothing_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    _wait(tmp_path, 60.0, said)
    assert said == []
