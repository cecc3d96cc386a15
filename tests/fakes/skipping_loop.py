"""An event loop whose time can be set forward, so that nobody has to wait for it."""

from __future__ import annotations

import asyncio


class SkippingLoop(asyncio.SelectorEventLoop):
    """The standard event loop with a clock that a test may put forward."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped_s = 0.0

    def time(self) -> float:
        return super().time() + self._skipped_s

    def skip(self, seconds: float) -> None:
        """Let this time be over now."""
        self._skipped_s += seconds


def skip(seconds: float) -> None:
    """Let this time be over on the running ``SkippingLoop``."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.skip(seconds)
