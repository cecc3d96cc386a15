"""How long to wait before a process that died is started again. Pure: time and chance are parameters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Delays that double with every failure and start over after a healthy time.

    Attributes:
        first_s: Delay after the first failure.
        most_s: Largest delay.
        healthy_s: A run of at least this long counts as healthy: its end is a first failure again.
        failures: Failures since the last healthy run.
    """

    first_s: float = 0.2
    most_s: float = 30.0
    healthy_s: float = 60.0
    failures: int = 0

    def next_delay_s(self, ran_s: float, jitter: float) -> float:
        """Count one failure and return the delay before the next start.

        Args:
            ran_s: How long the process had run.
            jitter: A number from 0 to 1, best random: it takes off up to half, so that many do not start at once.
        """
        if ran_s >= self.healthy_s:
            self.failures = 0
        # Beyond 2**32 the largest delay is reached whatever the first: no need for larger powers.
        delay_s = min(self.most_s, self.first_s * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return delay_s * (1.0 - 0.5 * jitter)
