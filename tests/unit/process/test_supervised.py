"""A program that is kept running."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.core.errors import MissingDependency, UpstreamFailure
from services.process.backoff import Backoff
from services.process.bounded_log import BoundedLog
from services.process.child import ChildProcess
from services.process.supervised import Supervised, describe_exit
from tests.fakes import aio


def at_once() -> Backoff:
    return Backoff(first_s=0.001, most_s=0.002)


def sleeper() -> ChildProcess:
    return ChildProcess([sys.executable, "-c", "import time; time.sleep(60)"])


def short_lived(log: BoundedLog | None = None) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", "print('x' * 5000, flush=True); raise SystemExit(3)"], None, log)


async def started(supervised: Supervised, count: int) -> None:
    await aio.until(lambda: supervised.starts >= count)


def test_what_dies_is_started_again_and_told_apart() -> None:
    exits: list[int] = []

    async def on_exit(status: int) -> None:
        exits.append(status)

    async def scenario() -> None:
        supervised = Supervised("short", short_lived, on_exit=on_exit, backoff=at_once())
        task = asyncio.create_task(supervised.run())
        await started(supervised, 3)
        await supervised.stop()
        await task
        assert supervised.pid is None

    aio.run(scenario())
    assert exits[:2] == [3, 3]


def test_a_stop_ends_the_program_and_never_starts_it_again() -> None:
    async def scenario() -> None:
        supervised = Supervised("sleeper", sleeper, backoff=at_once())
        task = asyncio.create_task(supervised.run())
        await aio.until(lambda: supervised.pid)
        await supervised.stop()
        await task
        assert supervised.starts == 1
        assert supervised.pid is None

    aio.run(scenario())


def test_a_stop_during_the_delay_ends_at_once() -> None:
    async def scenario() -> None:
        supervised = Supervised("short", short_lived, backoff=Backoff(first_s=1000.0, most_s=1000.0))
        task = asyncio.create_task(supervised.run())
        await started(supervised, 1)
        await aio.until(lambda: supervised.pid is None)
        await supervised.stop()
        await task
        assert supervised.starts == 1

    aio.run(scenario())


def test_a_stop_before_the_start_means_no_start() -> None:
    async def scenario() -> None:
        supervised = Supervised("sleeper", sleeper)
        await supervised.stop()
        await supervised.run()
        assert supervised.starts == 0

    aio.run(scenario())


def test_a_cancellation_leaves_no_process() -> None:
    async def scenario() -> None:
        children: list[ChildProcess] = []

        def spawn() -> ChildProcess:
            children.append(sleeper())
            return children[-1]

        supervised = Supervised("sleeper", spawn)
        task = asyncio.create_task(supervised.run())
        await aio.until(lambda: supervised.pid)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not children[0].running

    aio.run(scenario())


@pytest.mark.parametrize("program", [short_lived, sleeper])
def test_what_accompanies_a_run_ends_before_its_successor_or_its_end(program: Callable[[], ChildProcess]) -> None:
    events: list[str] = []

    async def on_start(_child: ChildProcess) -> None:
        events.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("ended")

    async def on_exit(_status: int) -> None:
        events.append("exit")

    async def scenario() -> None:
        supervised = Supervised("x", program, on_start=on_start, on_exit=on_exit, backoff=at_once())
        task = asyncio.create_task(supervised.run())
        await aio.until(lambda: events)
        await supervised.stop()
        await task

    aio.run(scenario())
    assert events[:3] == ["begun", "ended", "exit"]


def test_a_program_that_is_not_what_it_should_be_is_stopped_and_started_again() -> None:
    async def on_start(_child: ChildProcess) -> None:
        raise UpstreamFailure("not ready in time")

    async def scenario() -> None:
        supervised = Supervised("sleeper", sleeper, on_start=on_start, backoff=at_once())
        task = asyncio.create_task(supervised.run())
        await started(supervised, 2)
        await supervised.stop()
        await task

    aio.run(scenario())


def test_a_mistake_in_a_companion_is_not_swallowed() -> None:
    async def on_start(_child: ChildProcess) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        supervised = Supervised("sleeper", sleeper, on_start=on_start)
        with pytest.raises(ZeroDivisionError):
            await supervised.run()
        assert supervised.pid is None

    aio.run(scenario())


def test_a_missing_program_is_not_tried_again() -> None:
    async def scenario() -> None:
        supervised = Supervised("nothing", lambda: ChildProcess(["/no/such/program"]))
        with pytest.raises(MissingDependency):
            await supervised.run()

    aio.run(scenario())


def test_its_log_stays_within_its_bound(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "x.log", max_bytes=1000)
    code = "import time\nfor i in range(10**6):\n  print('line', i, flush=True); time.sleep(0.001)"

    async def scenario() -> None:
        chatty = ChildProcess([sys.executable, "-c", code], None, log)
        supervised = Supervised("chatty", lambda: chatty, log=log, trim_every_s=0.01)
        task = asyncio.create_task(supervised.run())
        await aio.until((tmp_path / "x.log.1").exists)
        await supervised.stop()
        await task

    aio.run(scenario())
    assert "line" in (tmp_path / "x.log.1").read_text()


def test_exits_are_said_in_words() -> None:
    assert describe_exit(0) == "exited with 0"
    assert describe_exit(-11) == "was killed by SIGSEGV"
    assert describe_exit(-63) == "was killed by signal 63"


def test_a_start_that_the_machine_refuses_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = BoundedLog(tmp_path / "file" / "x.log")
    spawned: list[ChildProcess] = []

    def spawn() -> ChildProcess:
        spawned.append(short_lived(log))
        return spawned[-1]

    async def scenario() -> None:
        supervised = Supervised("short", spawn, backoff=at_once())
        task = asyncio.create_task(supervised.run())
        await aio.until(lambda: len(spawned) > 2)
        (tmp_path / "file").unlink()
        await started(supervised, 1)
        await supervised.stop()
        await task

    aio.run(scenario())
