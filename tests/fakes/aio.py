"""Run a coroutine in a test, with a bound: a test that hangs is a failure that says where."""

from __future__ import annotations

import asyncio
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


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the bound of ``run`` bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.002)
