"""The port through which a version is warmed before it gets traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Warmed:
    """How warming a version on one server went.

    Attributes:
        server: HOST:PORT.
        requests: How many were sent.
        first_s: The first answer's latency, seconds.
        last_s: The latency in the end, seconds.
        settled: Whether it had settled when warming ended, or its time was over.
        compared: How many answers were held against those of the build.
    """

    server: str
    requests: int
    first_s: float
    last_s: float
    settled: bool
    compared: int

    @property
    def text(self) -> str:
        """The same for a person."""
        if not self.requests:
            return f"{self.server}: nothing to warm it with"
        fell = f"{1000 * self.first_s:.1f} -> {1000 * self.last_s:.1f} ms"
        how = "settled" if self.settled else "not settled in the time it had"
        same = f", {self.compared} answers as when it was built" if self.compared else ""
        return f"{self.server}: {self.requests} requests, {fell}, {how}{same}"


class Warmer(Protocol):
    """Warms versions. Adapter: ``TritonWarmer``."""

    async def warm(self, model: str, version: int) -> tuple[Warmed, ...]:
        """Send a loaded version its warm-up samples on every server until its latency settles.

        Raises:
            IntegrityError: It gives other answers than when it was built, or its samples are damaged.
            UpstreamFailure: It fails.
            Unavailable: No server answers.
        """
        ...
