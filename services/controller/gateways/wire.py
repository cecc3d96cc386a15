"""The control protocol's messages and the core's values, both ways. Pure; what a worker sends is not trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from services.controller.gateways.comparison_wire import comparison_from
from services.controller.gateways.fleet import ComparisonKey, Report
from services.controller.gateways.recent_traffic import TallyKey
from services.controller.gateways.values_wire import values_from
from services.core.counts.comparison import Comparison
from services.core.counts.histogram import BUCKET_COUNT, LatencyHistogram
from services.core.counts.report_bounds import MAX_OUTPUTS, fits
from services.core.counts.tally import Tally
from services.core.errors import InvalidRequest
from services.core.mirror import Mirror
from services.core.rollouts.feedback import MAX_BATCH, Feedback
from services.core.route import Role, RouteTable
from services.pb.penstock.v1 import feedback_pb2, routes_pb2, statistics_pb2

MAX_TALLIES = 4096
MAX_COMPARISONS = 1024
MAX_CLASSES = 100_000
MAX_NAME = 256
_MAX_COUNT = 2**53  # exact in JSON and in a float


def table_message(table: RouteTable) -> routes_pb2.RouteTable:
    """Return a route table as it is sent to gateways."""
    return routes_pb2.RouteTable(
        generation=table.generation,
        routes=[
            routes_pb2.Route(
                model=route.model,
                stable=route.stable,
                candidate=route.candidate or 0,
                weight_percent=route.weight_percent,
                versions=sorted(route.versions),
                mirror=None if route.mirror is None else _mirror_message(route.mirror),
                arms=[routes_pb2.Arm(version=arm.version, weight_percent=arm.weight_percent) for arm in route.arms],
                experiment=route.experiment,
                changed=table.changed.get(route.model, 0),
            )
            for _, route in sorted(table.routes.items())
        ],
    )


def report_from(message: statistics_pb2.StatisticsReport) -> Report:
    """Return a worker's report, without what is beyond a bound: that of one model is no reason to refuse all others'.

    A model that has lost a tally or a comparison so counts as one that the worker has no room to count.

    Raises:
        InvalidRequest: It has no name, or contradicts itself.
    """
    instance = checked_instance(message.instance)
    tallies: dict[TallyKey, Tally] = {}
    for tally in message.tallies[:MAX_TALLIES]:
        key = (_name("model", tally.model), tally.version, _role(tally.role))
        if key in tallies:
            raise InvalidRequest(f"{instance} reports {key[0]} version {key[1]} as {key[2]} twice; send one tally each")
        tallies[key] = _tally(tally)
    return Report(
        instance,
        message.sequence,
        message.served_generation,
        tallies,
        _comparisons(instance, message.comparisons),
        frozenset({*message.without_room[:MAX_TALLIES], *_cut(message)}),
    )


def outcomes_from(message: feedback_pb2.OutcomeReport) -> list[Feedback]:
    """Return the outcomes that a gateway passes on.

    Raises:
        InvalidRequest: There are too many, or an id is beyond its bounds.
    """
    if len(message.outcomes) > MAX_BATCH:
        raise InvalidRequest(f"{len(message.outcomes)} outcomes in one call; expected at most {MAX_BATCH}")
    return [Feedback(one.request_id, one.version, one.outcome, one.value) for one in message.outcomes]


def _mirror_message(mirror: Mirror) -> routes_pb2.Mirror:
    return routes_pb2.Mirror(
        version=mirror.version,
        percent=mirror.percent,
        floor_percent=mirror.floor_percent,
        slice_key=mirror.slice_key,
        relative_tolerance=mirror.relative_tolerance,
        absolute_tolerance=mirror.absolute_tolerance,
        scores=mirror.scores,
    )


def _cut(message: statistics_pb2.StatisticsReport) -> set[str]:
    """Return the models of which something is beyond a bound: what is left of them is no evidence."""
    tallies, comparisons = message.tallies[MAX_TALLIES:], message.comparisons[MAX_COMPARISONS:]
    return {tally.model for tally in tallies} | {comparison.model for comparison in comparisons}


def _comparisons(instance: str, messages: Sequence[statistics_pb2.Comparison]) -> dict[ComparisonKey, Comparison]:
    comparisons: dict[ComparisonKey, Comparison] = {}
    for message in messages[:MAX_COMPARISONS]:
        key = (_name("model", message.model), message.answered, message.mirrored)
        if key in comparisons:
            raise InvalidRequest(
                f"{instance} compares versions {key[1]} and {key[2]} of {key[0]} twice; send one comparison each"
            )
        comparisons[key] = comparison_from(message, _histogram(message.original), _histogram(message.copy))
    return comparisons


def checked_instance(instance: str) -> str:
    """Return a worker's name.

    Raises:
        InvalidRequest: It is empty or too long.
    """
    return _name("instance", instance)


def _name(what: str, value: str) -> str:
    if not 1 <= len(value) <= MAX_NAME:
        raise InvalidRequest(f"{what} has {len(value)} characters; expected 1 to {MAX_NAME}")
    return value


def _role(value: str) -> Role:
    try:
        return Role(value)
    except ValueError as error:
        raise InvalidRequest(f"role '{value[:MAX_NAME]}'; expected one of {', '.join(Role)}") from error


def _tally(message: statistics_pb2.Tally) -> Tally:
    if max(message.requests, message.failed, message.non_finite, message.unanswered) > _MAX_COUNT:
        raise InvalidRequest(f"a count of {message.model} version {message.version} is beyond 2^53")
    return Tally(
        message.requests,
        message.failed,
        message.non_finite,
        _histogram(message.latency),
        _predictions(message.predictions),
        values_from(message),
        message.unanswered,
    )


def _predictions(messages: Sequence[statistics_pb2.ClassCounts]) -> dict[str, tuple[int, ...]]:
    fitting = (each for each in messages if fits(each.output) and len(each.counts) <= MAX_CLASSES)
    return {each.output: tuple(each.counts) for each in islice(fitting, MAX_OUTPUTS)}


def _histogram(message: statistics_pb2.Histogram) -> LatencyHistogram:
    if len(message.bucket) != len(message.count) or len(message.bucket) > BUCKET_COUNT:
        raise InvalidRequest(
            f"a histogram has {len(message.bucket)} buckets and {len(message.count)} counts; expected as many of one "
            f"as of the other, and at most {BUCKET_COUNT}"
        )
    counts = dict(zip(message.bucket, message.count, strict=True))
    if len(counts) != len(message.bucket) or any(index >= BUCKET_COUNT for index in counts):
        raise InvalidRequest(f"a histogram's buckets are indices from 0 to {BUCKET_COUNT - 1}, each once")
    if not math.isfinite(message.sum_s):
        raise InvalidRequest(f"a histogram's sum is {message.sum_s}; expected seconds")
    return LatencyHistogram(counts, message.sum_s)
