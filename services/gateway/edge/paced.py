"""Long work in short slices: a large request must not keep the event loop from the small ones."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")
# Work that yields where it may be interrupted, a few milliseconds apart at most, and returns its result.
Slices = Generator[None, None, Result]


async def paced(work: Slices[Result]) -> Result:
    """Run work slice by slice, with everything else that the event loop has to do in between."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return result
        await asyncio.sleep(0)
