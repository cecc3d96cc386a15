"""The gateway workers that are alive, and the last thing each reported.

Bounded: a worker that falls silent is forgotten, and there are only so many. Time is monotonic, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from services.controller.gateways.recent_traffic import RecentTraffic, TallyKey
from services.core.counts.comparison import Comparison
from services.core.counts.tally import Tally
from services.core.errors import Overloaded
from services.core.rollouts.evidence import Sighting
from services.core.route import Role

ComparisonKey = tuple[str, int, int]  # model, the version that answered, the one that got the copy
_EMPTY = Tally()
_UNCOMPARED = Comparison()
_ADOPTIONS = 32
_NO_TABLE = -1
_WITHOUT_ROOM = "has no room left to count the model's answers until it is replaced"


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker said of itself.

    Attributes:
        instance: The worker; unique to one process.
        sequence: Grows with every report of a worker.
        served_generation: Generation of the route table that it serves with.
        tallies: Counts since its start, by model, version and role.
        comparisons: Copies since its start, by model, version that answered and version that got the copy.
        without_room: Models that it cannot count or tell completely; what it tells of them is no evidence.
    """

    instance: str
    sequence: int
    served_generation: int
    tallies: Mapping[TallyKey, Tally]
    comparisons: Mapping[ComparisonKey, Comparison] = field(default_factory=dict)
    without_room: frozenset[str] = frozenset()

    def compared(self, model: str, *pairs: tuple[int, int]) -> Comparison:
        """Return the sum of some pairs of versions."""
        found = (self.comparisons[model, *pair] for pair in pairs if (model, *pair) in self.comparisons)
        return sum(found, _UNCOMPARED)


@dataclass(slots=True)
class _Worker:
    served_generation: int
    last_seen: float
    report: Report | None = None
    # When it was first seen to serve with a table, oldest first: (generation, time).
    adopted: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_ADOPTIONS))

    def serving_since(self, generation: int) -> float:
        """Return since when it is known to serve with a table or a newer one."""
        return next((since for adopted, since in self.adopted if adopted >= generation), self.last_seen)

    def serves(self, generation: int, now: float) -> None:
        """Note that it serves with a table."""
        if generation < self.served_generation:
            self.adopted.clear()  # those were tables of another database
        if generation != self.served_generation:
            self.served_generation = generation
            self.adopted.append((generation, now))


class Fleet:
    """Live workers by instance.

    Attributes:
        recent: What they answered lately.

    Args:
        clock: Monotonic clock, seconds.
        newest: Gives the generation of the newest route table. Whoever serves with one beyond has it from another
            database: nothing that it answers is under a route of ours.
        stale_after_s: Silence after which a worker counts as gone.
        max_workers: Bound on the number of workers.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        newest: Callable[[], int],
        stale_after_s: float = 10.0,
        max_workers: int = 512,
    ) -> None:
        self._clock = clock
        self._newest = newest
        self._stale_after_s = stale_after_s
        self._max_workers = max_workers
        self._workers: dict[str, _Worker] = {}
        self._watching_since = clock()
        self.recent = RecentTraffic()

    @property
    def settled(self) -> bool:
        """Whether it has been watched for so long that every worker that lives has reported."""
        return self._clock() - self._watching_since >= self._stale_after_s

    def begin(self) -> None:
        """Know of no worker: they report to whoever leads, and this process leads from now on."""
        self._workers.clear()
        self._watching_since = self._clock()

    def expect(self, instances: Iterable[str]) -> None:
        """Count workers as alive that were known before a restart, until they report or stay silent for too long."""
        now = self._clock()
        for instance in instances:
            self._workers.setdefault(instance, _Worker(_NO_TABLE, now))

    def report(self, report: Report) -> None:
        """Take in a report; one that is older than the last of its worker changes nothing.

        Raises:
            Overloaded: There are as many workers as there may be.
        """
        now = self._clock()
        worker = self._workers.get(report.instance)
        if worker is None:
            self._forget_silent()
            if len(self._workers) >= self._max_workers:
                raise Overloaded(f"{self._max_workers} gateway workers report already; that is the limit")
            worker = self._workers[report.instance] = _Worker(_NO_TABLE, now)
        if worker.report is not None and report.sequence <= worker.report.sequence:
            return
        worker.serves(report.served_generation, now)
        worker.last_seen, worker.report = now, report
        self.recent.note(report.instance, report.tallies, now)

    def live(self) -> frozenset[str]:
        """Return the workers that are alive."""
        self._forget_silent()
        return frozenset(self._workers)

    def sightings(self, model: str, stable: int, candidate: int, *arms: int) -> dict[str, Sighting]:
        """Return what every live worker last reported of versions of a model.

        One that serves with a table of another database has counted nothing, so that its counts begin when it serves
        with ours.
        """
        self._forget_silent()
        newest = self._newest()
        found: dict[str, Sighting] = {}
        for instance, worker in self._workers.items():
            report = worker.report
            if report is None or model in report.without_room:
                continue
            if report.served_generation > newest:
                found[instance] = Sighting(report.sequence, _NO_TABLE)
                continue
            found[instance] = Sighting(
                report.sequence,
                report.served_generation,
                report.tallies.get((model, stable, Role.STABLE), _EMPTY),
                report.tallies.get((model, candidate, Role.CANDIDATE), _EMPTY),
                report.compared(model, (stable, candidate), (candidate, stable)),
                report.compared(model, (stable, stable), (candidate, candidate)),
                {arm: report.tallies.get((model, arm, Role.CANDIDATE), _EMPTY) for arm in arms},
            )
        return found

    def uncounted(self, model: str) -> dict[str, str]:
        """Return the live workers of whose answers by a model not everything is known, each with why."""
        self._forget_silent()
        return {
            instance: "has not reported to this controller yet" if worker.report is None else _WITHOUT_ROOM
            for instance, worker in self._workers.items()
            if worker.report is None or model in worker.report.without_room
        }

    def lagging(self, generation: int) -> frozenset[str]:
        """Return the live workers that serve with an older route table, or with one of another database."""
        self._forget_silent()
        newest = self._newest()
        return frozenset(
            name for name, worker in self._workers.items() if not generation <= worker.served_generation <= newest
        )

    def has_let_go(self, generation: int, linger_s: float) -> bool:
        """Return whether every live worker has served with a table for a while.

        Args:
            generation: The table's generation.
            linger_s: How long a request that was routed before may still be on its way to Triton, seconds.
        """
        if not self.settled or self.lagging(generation):
            return False
        now = self._clock()
        return all(now - worker.serving_since(generation) >= linger_s for worker in self._workers.values())

    def _forget_silent(self) -> None:
        horizon = self._clock() - self._stale_after_s
        silent = [name for name, worker in self._workers.items() if worker.last_seen < horizon]
        for instance in silent:
            del self._workers[instance]
        if silent:
            self.recent.keep_only(self._workers)
