"""The control protocol's messages to and from the domain."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.core.counts.comparison import Comparison
from services.core.counts.tally import Tally
from services.core.errors import InvalidRequest
from services.core.mirror import Mirror
from services.core.route import Arm, Route, RouteTable
from services.gateway.control.comparison_message import add_comparison, put_latency
from services.gateway.metrics.comparisons import ComparisonKey
from services.gateway.metrics.tallies import TallyKey
from services.pb.penstock.v1 import routes_pb2, statistics_pb2


def table_from(message: routes_pb2.RouteTable) -> RouteTable:
    """Return the table that a message holds.

    Raises:
        InvalidRequest: It breaks a rule of routes, such as a weight of more than 100 percent.
    """
    try:
        routes = [
            Route(
                route.model,
                route.stable,
                route.candidate or None,
                route.weight_percent,
                frozenset(route.versions),
                _mirror(route),
                tuple(Arm(arm.version, arm.weight_percent) for arm in route.arms),
                route.experiment,
            )
            for route in message.routes
        ]
    except ValueError as error:
        raise InvalidRequest(f"the route table of generation {message.generation} makes no sense: {error}") from error
    changed = {route.model: route.changed for route in message.routes if route.changed}
    return RouteTable(message.generation, {route.model: route for route in routes}, changed)


def report_from(
    instance: str,
    sequence: int,
    served_generation: int,
    tallies: Mapping[TallyKey, Tally],
    comparisons: Mapping[ComparisonKey, Comparison],
    *,
    without_room: Collection[str] = (),
) -> statistics_pb2.StatisticsReport:
    """Return the report of one worker's tallies and comparisons, but for models that it had no room to count."""
    report = statistics_pb2.StatisticsReport(
        instance=instance,
        sequence=sequence,
        served_generation=served_generation,
        without_room=sorted(without_room),
    )
    for (model, version, role), tally in tallies.items():
        if model in without_room:
            continue
        entry = report.tallies.add(
            model=model,
            version=version,
            role=role,
            requests=tally.requests,
            failed=tally.failed,
            non_finite=tally.non_finite,
            unanswered=tally.unanswered,
        )
        put_latency(entry.latency, tally.latency)
        for output, counts in tally.predictions.items():
            entry.predictions.add(output=output, counts=counts)
        for what, values in tally.values.items():
            entry.values.add(what=what, bin=values.counts.keys(), count=values.counts.values(), squares=values.squares)
    for key, comparison in comparisons.items():
        if key[0] not in without_room:
            add_comparison(report, key, comparison)
    return report


def _mirror(route: routes_pb2.Route) -> Mirror | None:
    if not route.HasField("mirror"):
        return None
    mirror = route.mirror
    return Mirror(
        mirror.version,
        mirror.percent,
        mirror.floor_percent,
        mirror.slice_key,
        mirror.relative_tolerance,
        mirror.absolute_tolerance,
        mirror.scores,
    )
