"""A gateway worker as the controller sees it: it serves with a table and reports cumulative counts."""

from __future__ import annotations

from dataclasses import replace

from services.controller.gateways.fleet import ComparisonKey, Fleet, Report
from services.controller.gateways.recent_traffic import TallyKey
from services.controller.gateways.route_board import RouteBoard
from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.mirror import Mirror
from services.core.route import Role, RouteTable


class FakeGatewayWorker:
    """Shares requests out exactly by the weight.

    Attributes:
        deaf: Whether it takes no new tables.
        mute: Whether it reports nothing.
        error: Share of the requests that fail, by version; exact.
        odd: How many of the next answers are not finite, by version.
        masked: Share of the inputs that a version answers with a NaN by design; exact. They are the same inputs for
            every version, as far as its share goes.
        latency_s: Latency by version, seconds.
        differing: Share of the copied requests that a version answers otherwise than another one; exact.
        without_room: Models of which it tells nothing, because it cannot count them completely.
        truth: Requests by model, version and role since its start.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.sequence = 0
        self.deaf = False
        self.mute = False
        self.without_room: frozenset[str] = frozenset()
        self.error: dict[int, float] = {}
        self.odd: dict[int, int] = {}
        self.masked: dict[int, float] = {}
        self.latency_s: dict[int, float] = {}
        self.differing: dict[int, float] = {}
        self.comparisons: dict[ComparisonKey, Comparison] = {}
        self.tallies: dict[TallyKey, Tally] = {}
        self._table = RouteTable()

    def watch(self, board: RouteBoard) -> None:
        """Take the newest table, as the stream would bring it."""
        if board.book is not None and not self.deaf and board.book.generation > self._table.generation:
            self._table = board.book.table

    def answer(self, model: str, requests: int) -> None:
        """Answer requests by the table that it has."""
        route = self._table.routes.get(model)
        if route is None:
            return
        mine = requests * route.weight_percent // 100
        of_arms = {arm.version: requests * arm.weight_percent // 100 for arm in route.arms}
        self._count((model, route.stable, Role.STABLE), requests - mine - sum(of_arms.values()))
        for version, count in of_arms.items():
            self._count((model, version, Role.CANDIDATE), count)
        if route.candidate is not None:
            self._count((model, route.candidate, Role.CANDIDATE), mine)
        if route.mirror is not None:
            from_stable = route.mirror.version != route.stable
            answered = route.stable if from_stable else route.candidate or route.stable
            self._copy(model, answered, route.mirror, requests - mine if from_stable else mine)

    def _copy(self, model: str, answered: int, mirror: Mirror, requests: int) -> None:
        copies = int(requests * mirror.percent / 100 * (1 - self.error.get(answered, 0.0)))
        floor = copies * mirror.floor_percent // 100
        for version, count in ((mirror.version, copies - floor), (answered, floor)):
            failed = int(count * self.error.get(version, 0.0))
            pairs = count - failed
            original, copy = LatencyHistogram(), LatencyHistogram()
            original.observe(self.latency_s.get(answered, 0.01), pairs)
            copy.observe(self.latency_s.get(version, 0.01), pairs)
            differing = 0 if version == answered else int(pairs * self.differing.get(version, 0.0))
            outputs = self._not_finite(pairs, answered, version)
            differing += outputs["y"].non_finite
            found = Comparison(PairCounts(pairs, differing), failed, original=original, copy=copy, outputs=outputs)
            key = (model, answered, version)
            self.comparisons[key] = self.comparisons.get(key, Comparison()) + found

    def _not_finite(self, pairs: int, answered: int, version: int) -> dict[str, OutputComparison]:
        one, other = (int(pairs * self.masked.get(side, 0.0)) for side in (answered, version))
        both = min(one, other)
        return {"y": OutputComparison(pairs, 0, 0, one + other - 2 * both, one - both, other - both, both)}

    def report_to(self, fleet: Fleet) -> None:
        """Report everything since its start."""
        if self.mute:
            return
        self.sequence += 1
        report = Report(
            self.instance,
            self.sequence,
            self._table.generation,
            {key: tally for key, tally in self.tallies.items() if key[0] not in self.without_room},
            {key: copies for key, copies in self.comparisons.items() if key[0] not in self.without_room},
            self.without_room,
        )
        fleet.report(report)

    def _count(self, key: TallyKey, requests: int) -> None:
        version = key[1]
        failed = int(requests * self.error.get(version, 0.0))
        latency = LatencyHistogram()
        latency.observe(self.latency_s.get(version, 0.01), requests - failed)
        before = self.tallies.get(key, Tally())
        odd = min(requests - failed, self.odd.get(version, 0))
        self.odd[version] = self.odd.get(version, 0) - odd
        odd = max(odd, int((requests - failed) * self.masked.get(version, 0.0)))
        self.tallies[key] = before + replace(Tally(), requests=requests, failed=failed, non_finite=odd, latency=latency)
