"""Run a coroutine in a test, with a bound: a test that hangs is a failure that says where."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run(coroutine: Coroutine[Any, Any, Result], timeout_s: float = 20.0, loop: LoopFactory | None = None) -> Result:
    """Run to the end on a fresh event loop."""

    async def bounded() -> Result:
        async with asyncio.timeout(timeout_s):
            return await coroutine

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(bounded())


def run_quietly(
    coroutine: Coroutine[Any, Any, Result], timeout_s: float = 20.0, loop: LoopFactory | None = None
) -> Result:
    """Run as ``run``; nothing may be left behind: no task, and no error that nobody looked at."""
    noise: list[str] = []

    async def quiet() -> Result:
        running = asyncio.get_running_loop()
        running.set_exception_handler(lambda _, context: noise.append(str(context)))
        result = await coroutine
        await turns(5)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks are left: {left}"
        return result

    result = run(quiet(), timeout_s, loop)
    gc.collect()  # what nobody holds any more says now what nobody looked at
    assert not noise, noise
    return result


async def turns(count: int) -> None:
    """Let the event loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the bound of ``run`` bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.002)
