"""The control protocol's messages to and from the domain."""

from __future__ import annotations

from collections.abc import Mapping

from services.core.errors import InvalidRequest
from services.core.route import Route, RouteTable
from services.core.tally import Tally
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
            )
            for route in message.routes
        ]
    except ValueError as error:
        raise InvalidRequest(f"the route table of generation {message.generation} makes no sense: {error}") from error
    return RouteTable(message.generation, {route.model: route for route in routes})


def report_from(
    instance: str, sequence: int, served_generation: int, tallies: Mapping[TallyKey, Tally]
) -> statistics_pb2.StatisticsReport:
    """Return the report of one worker's tallies."""
    report = statistics_pb2.StatisticsReport(instance=instance, sequence=sequence, served_generation=served_generation)
    for (model, version, role), tally in tallies.items():
        entry = report.tallies.add(
            model=model,
            version=version,
            role=role,
            requests=tally.requests,
            failed=tally.failed,
            non_finite=tally.non_finite,
        )
        buckets = sorted(tally.latency.counts.items())
        entry.latency.bucket.extend(index for index, _ in buckets)
        entry.latency.count.extend(count for _, count in buckets)
        entry.latency.sum_s = tally.latency.sum_s
        for output, counts in tally.predictions.items():
            entry.predictions.add(output=output, counts=counts)
    return report
