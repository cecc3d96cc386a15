"""One child process, from start to end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from services.core.errors import MissingDependency
from services.process.bounded_log import BoundedLog
from services.process.child import ChildProcess
from tests.fakes import aio

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
WITH_GRANDCHILD = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep({})"


def python(code: str, log: BoundedLog | None = None, env: dict[str, str] | None = None) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", code], env, log)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_its_output_and_its_environment_are_its_own(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "deep" / "child.log")
    code = "import os, sys; print(sorted(os.environ)); print('bad', file=sys.stderr); sys.exit(7)"

    async def scenario() -> None:
        child = python(code, log, {"PATH": os.defpath, "MINE": "1"})
        await child.start()
        assert await child.wait() == 7

    aio.run(scenario())
    text = log.path.read_text()
    assert "MINE" in text
    assert "HOME" not in text
    assert "bad" in text


def test_a_program_that_does_not_exist_is_a_missing_dependency() -> None:
    with pytest.raises(MissingDependency, match="no program /no/such/program"):
        aio.run(ChildProcess(["/no/such/program"]).start())


def test_a_polite_child_ends_by_sigterm() -> None:
    async def scenario() -> None:
        child = python("import time; time.sleep(60)")
        await child.start()
        assert await child.stop(grace_s=10.0) == -signal.SIGTERM
        assert await child.stop(grace_s=10.0) == -signal.SIGTERM
        assert not child.running

    aio.run(scenario())


def test_a_stubborn_child_is_killed_after_its_grace(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "child.log")

    async def scenario() -> None:
        child = python(STUBBORN, log)
        await child.start()
        await aio.until(lambda: "up" in log.tail())
        assert await child.stop(grace_s=0.1) == -signal.SIGKILL

    aio.run(scenario())


def test_a_stop_that_is_given_up_kills(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "child.log")

    async def scenario() -> None:
        child = python(STUBBORN, log)
        await child.start()
        await aio.until(lambda: "up" in log.tail())
        stop = asyncio.create_task(child.stop(grace_s=60.0))
        await asyncio.sleep(0.05)
        stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
        assert await child.wait() == -signal.SIGKILL

    aio.run(scenario())


@pytest.mark.parametrize("seconds", [0, 60])
def test_what_a_child_started_ends_with_it(tmp_path: Path, seconds: int) -> None:
    log = BoundedLog(tmp_path / "child.log")

    async def scenario() -> None:
        child = python(WITH_GRANDCHILD.format(seconds), log)
        await child.start()
        await aio.until(log.tail)
        await (child.wait() if seconds == 0 else child.stop(grace_s=10.0))
        grandchild = int(log.tail())
        await aio.until(lambda: is_gone(grandchild))

    aio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has the signal of a parent's death")
def test_a_child_does_not_outlive_a_parent_that_was_killed() -> None:
    parent = textwrap.dedent(
        """
        import asyncio
        from services.process.child import ChildProcess
        async def main():
            child = ChildProcess(["sleep", "60"])
            await child.start()
            print(child.pid, flush=True)
            await child.wait()
        asyncio.run(main())
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
        process.wait(10)

        async def gone() -> None:
            await aio.until(lambda: is_gone(pid))

        aio.run(gone())
