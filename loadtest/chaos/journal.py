"""What happened to every request: counting only, no clock and no network.

The clients write on their thread, the experiments read on theirs; appending to a list and taking its length are atomic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.connection import TIMED_OUT
from loadtest.record import Failure


@dataclass(frozen=True, slots=True)
class Entry:
    """One request.

    Attributes:
        due_s: Intended send time, on the monotonic clock.
        latency_s: From then to its answer, or to its failure.
        protocol: ``rest`` or ``grpc``.
        failure: Why it has no right answer; None for one that has.
        resent: Whether a kept-alive connection closed under it, unanswered, and it was sent again.
        late_s: How much later than due it was sent: the generator's own fault.
    """

    due_s: float
    latency_s: float
    protocol: str
    failure: Failure | None
    resent: bool = False
    late_s: float = 0.0

    @property
    def over_deadline(self) -> bool:
        """Whether it failed for want of time."""
        return self.failure is not None and self.failure.kind == TIMED_OUT


class Journal:
    """Every request so far, in the order of their ends."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        """Write one down."""
        self._entries.append(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def between(self, from_s: float, to_s: float) -> Summary:
        """Return the requests that were due from one moment until before another."""
        count = len(self._entries)
        found = (self._entries[position] for position in range(count))
        return Summary([entry for entry in found if from_s <= entry.due_s < to_s])


class Summary:
    """Some requests, added up."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._sorted_s = sorted(entry.latency_s for entry in entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @property
    def requests(self) -> int:
        """How many there are."""
        return len(self._entries)

    @property
    def failed(self) -> int:
        """Those without a right answer."""
        return sum(entry.failure is not None for entry in self._entries)

    @property
    def over_deadline(self) -> int:
        """Those that failed for want of time."""
        return sum(entry.over_deadline for entry in self._entries)

    @property
    def resent(self) -> int:
        """Those that a client had to send twice, because a kept-alive connection was closed under them."""
        return sum(entry.resent for entry in self._entries)

    @property
    def generator_late_s(self) -> float:
        """How much later than due the latest one was sent."""
        return max((entry.late_s for entry in self._entries), default=0.0)

    @property
    def kinds(self) -> dict[str, int]:
        """Failures by protocol and kind, the most frequent first."""
        counted = Counter(f"{entry.protocol}: {entry.failure.kind}" for entry in self._entries if entry.failure)
        return dict(counted.most_common())

    @property
    def examples(self) -> dict[str, str]:
        """What the first failure of each kind said."""
        found: dict[str, str] = {}
        for entry in self._entries:
            if entry.failure:
                found.setdefault(f"{entry.protocol}: {entry.failure.kind}", entry.failure.message)
        return found

    def quantile_ms(self, share: float) -> float | None:
        """Return a latency quantile in milliseconds; None without requests."""
        if not self._sorted_s:
            return None
        return 1e3 * self._sorted_s[min(len(self._sorted_s) - 1, int(share * len(self._sorted_s)))]

    def last_slow_s(self, threshold_s: float) -> float | None:
        """Return when the last request was due that took longer than a threshold or failed; None where none did."""
        slow = [one.due_s for one in self._entries if one.failure is not None or one.latency_s > threshold_s]
        return max(slow, default=None)
