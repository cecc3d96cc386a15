"""An event loop that never waits: where the standard one would sleep, its clock is put forward."""

from __future__ import annotations

import asyncio
import selectors


class _NoWait(selectors.SelectSelector):
    """Looks without waiting, and remembers for how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("the simulation waits for something that never happens")
        self.skipped_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """The standard event loop in virtual time, which begins at 0: hours pass in the time that their callbacks take."""

    def __init__(self) -> None:
        self._skipping = _NoWait()
        super().__init__(self._skipping)
        # Timers due within the clock's resolution run together; without any, rounding could leave one due for ever.
        self._clock_resolution: float = 1e-9

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._skipping.skipped_s
