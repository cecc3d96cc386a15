"""The sums of all workers as Prometheus metrics, with ``prometheus_client`` for the text alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from services.core.counts.comparison import OutputComparison
from services.core.counts.difference import upper_bound
from services.gateway.metrics.merged import Merged, MergedSlabs
from services.gateway.metrics.series import (
    EXCHANGE,
    GAUGES,
    LABELS,
    LOOP_LAG,
    MIRROR_DIFFERENCE,
    MIRROR_OUTPUT,
    MIRROR_PAIRS,
    MIRROR_TIME,
    NON_FINITE,
    NS_PER_S,
    PAIR_COUNTS,
    PREDICTIONS,
    REQUEST,
    STAGE,
    is_answer,
    request_histogram,
    stage_upper_bound_s,
)
from services.gateway.metrics.slab import Values
from services.gateway.metrics.time_split import TimeSplit
from services.gateway.metrics.vocabulary import COUNTERS, GAUGE_FAMILIES, PARTS
from services.gateway.metrics.window import WINDOW_S, Window
from services.gateway.rolling import APART_S, FULL_FROM

# Boundaries of the durations' histogram: fine where answers usually are, coarse around it, none beyond. Leaving one out
# never changes the counts of the others. Between the fine ones, whose distance is 4.4 %, ``histogram_quantile`` is off
# by less than 2 % for smooth distributions.
_FINE_PER_OCTAVE = 16
_COARSE_PER_OCTAVE = 4
_FINE_FROM_S, _FINE_TO_S = 2.0**-11, 2.0  # 0.5 ms to 2 s
_LEAST_S, _MOST_S = 2.0**-14, 2.0**6  # 61 us to 64 s
# Of the buckets of differences every 16th is shown: boundaries are a factor of 16 apart.
_DIFFERENCE_STRIDE = 16
_QUANTILES = (0.5, 0.95, 0.99)

Buckets = list[tuple[str, float]]


class GatewayCollector(Collector):
    """Gives Prometheus the sums of this moment.

    Args:
        slabs: The workers' counts.
        window: Earlier sums, for the quantiles of the last minute.
        clock: Seconds, the same as the window's.
        split: Where the time of answered requests went, Triton's own included.
    """

    def __init__(
        self, slabs: MergedSlabs, window: Window, clock: Callable[[], float], split: TimeSplit | None = None
    ) -> None:
        self._slabs = slabs
        self._window = window
        self._clock = clock
        self._split = split or TimeSplit()

    def collect(self) -> Iterator[Metric]:
        """Return every family."""
        merged = self._slabs.merged()
        sums = {key: values for key, values in merged.items() if key[0] not in GAUGES and values.any()}
        yield _requests(sums)
        yield _durations(sums)
        yield _stages(sums)
        yield _merged(sums)
        yield _time(self._split)
        yield _loop_lag(sums)
        yield _quantiles(self._window.since(self._clock(), sums))
        yield _non_finite(sums)
        yield _predictions(sums)
        yield _mirror_pairs(sums)
        yield _mirror_not_finite(sums)
        yield _mirror_durations(sums)
        yield _mirror_differences(sums)
        yield from _counters(sums)
        yield from _gauges(merged)
        yield _gauge("in_flight", "Requests that are being forwarded to Triton now.", self._slabs.in_flight)
        yield _gauge("workers", "Worker processes that accept requests.", self._slabs.listening)
        yield _gauge(
            "route_generation",
            "Generation of the route table that the worker furthest behind serves with.",
            self._slabs.generation,
        )
        yield _gauge(
            "counter_room_used_ratio",
            f"Share of its room for counters that the fullest worker has used; from {FULL_FROM:g} on it is replaced, "
            f"at most every {APART_S:g} s.",
            self._slabs.room_used,
        )
        yield _gauge(
            "models_without_counter_room",
            "Most models that a worker has no room to count completely: its reports leave them out, and their rollouts "
            "wait. More than 0 for longer than a replacement takes is for an alert.",
            self._slabs.without_room,
        )


def _requests(sums: Merged) -> Metric:
    family = CounterMetricFamily(
        "penstock_requests",
        "Inference requests by outcome. Requests for models that are not served have an empty model; requests refused "
        "before a version was chosen have an empty version and role. cancelled: the client went away after a version "
        "was asked; withdrawn: before that; expired: its time was over before that; failed: failures of any kind for "
        "which a worker had no room left.",
        labels=LABELS[REQUEST],
    )
    for key, values in sums.items():
        if key[0] == REQUEST:
            family.add_metric(key[1:], float(values[1:].sum()))
    return family


def _durations(sums: Merged) -> Metric:
    family = HistogramMetricFamily(
        "penstock_request_duration_seconds",
        "Time from the complete arrival of a request at the gateway to its encoded answer, by outcome.",
        labels=LABELS[REQUEST],
    )
    for key, values in sums.items():
        if key[0] == REQUEST:
            histogram = request_histogram(values)
            rows = histogram.cumulative(_FINE_PER_OCTAVE)
            coarse = range(0, len(rows), _FINE_PER_OCTAVE // _COARSE_PER_OCTAVE)
            chosen = [row for i, row in enumerate(rows) if i in coarse or _FINE_FROM_S <= row[0] <= _FINE_TO_S]
            family.add_metric(key[1:], buckets=_shown([*chosen, rows[-1]]), sum_value=histogram.sum_s)
    return family


def _stages(sums: Merged) -> Metric:
    family = HistogramMetricFamily(
        "penstock_stage_duration_seconds",
        "Time in each stage of an answered request (outcome ok). The stages add up to its duration.",
        labels=LABELS[STAGE],
    )
    for key, values in sums.items():
        if key[0] == STAGE:
            family.add_metric(key[1:], buckets=_shown(_stage_cumulative(values)), sum_value=int(values[0]) / NS_PER_S)
    return family


def _merged(sums: Merged) -> Metric:
    family = CounterMetricFamily(
        "penstock_merged_requests",
        "Answered requests that went to Triton as a part of another request of the same worker, which was ready at the "
        "same moment. With n of m answered requests merged, Triton got m - n.",
        labels=LABELS[EXCHANGE],
    )
    for key, values in sums.items():
        if key[0] == EXCHANGE:
            family.add_metric(key[1:], float(values[0] - values[2]))
    return family


def _time(split: TimeSplit) -> Metric:
    family = CounterMetricFamily(
        "penstock_time_seconds",
        "Where the time of answered requests went; the parts add up to their durations. "
        + " ".join(f"{part}: {words}." for part, words in PARTS.items()),
        labels=("model", "version", "part"),
    )
    for (model, version), parts in split.shown().items():
        for part, seconds in parts.items():
            family.add_metric((model, version, part), seconds)
    return family


def _loop_lag(sums: Merged) -> Metric:
    family = HistogramMetricFamily(
        "penstock_event_loop_lag_seconds",
        "How much later than asked a timer of a worker ran, to the millisecond: what a request that is ready waits "
        "for others of its worker. Ten looks a second of each worker.",
    )
    values = sums.get((LOOP_LAG,))
    if values is not None:
        family.add_metric((), buckets=_shown(_stage_cumulative(values)), sum_value=int(values[0]) / NS_PER_S)
    return family


def _counters(sums: Merged) -> Iterator[Metric]:
    for name, (shown, words) in COUNTERS.items():
        family = CounterMetricFamily(f"penstock_{shown}", words, labels=LABELS[name])
        for key, values in sums.items():
            if key[0] == name:
                family.add_metric(key[1:], float(values[0]))
        yield family


def _gauges(merged: Merged) -> Iterator[Metric]:
    for name, (shown, words) in GAUGE_FAMILIES.items():
        family = GaugeMetricFamily(f"penstock_{shown}", words, labels=LABELS[name])
        for key, values in merged.items():
            if key[0] == name and values[0]:  # the number of workers that have it
                family.add_metric(key[1:], float(values[1]))
        yield family


def _quantiles(recent: Merged) -> Metric:
    labels = (*LABELS[REQUEST][:-1], "quantile")
    # The type of values with this label in the format: a gauge with it is refused by ``promtool check metrics``.
    family = Metric(
        name := "penstock_request_duration_quantile_seconds",
        f"Quantiles of the durations of answered requests (outcome ok) over the last {WINDOW_S:g} s and over all "
        "workers, right to 1.1 percent. Absent while nothing was answered. They cannot be averaged or added: for other "
        "windows or sums take histogram_quantile of penstock_request_duration_seconds.",
        "summary",
    )
    for key, values in recent.items():
        if not is_answer(key):
            continue
        histogram = request_histogram(values)
        for quantile in _QUANTILES:
            duration_s = histogram.quantile(quantile)
            if duration_s is not None:
                values_of_labels = (*key[1:-1], f"{quantile:g}")
                family.add_sample(name, dict(zip(labels, values_of_labels, strict=True)), duration_s)
    return family


def _non_finite(sums: Merged) -> Metric:
    family = CounterMetricFamily(
        "penstock_non_finite_answers",
        "Answers with a NaN or an infinity in a floating-point output.",
        labels=LABELS[NON_FINITE],
    )
    for key, values in sums.items():
        if key[0] == NON_FINITE:
            family.add_metric(key[1:], float(values[0]))
    return family


def _predictions(sums: Merged) -> Metric:
    family = CounterMetricFamily(
        "penstock_predictions",
        "For outputs with class labels: how often each class came first, by index. Classes never seen are absent.",
        labels=(*LABELS[PREDICTIONS], "class"),
    )
    for key, values in sums.items():
        if key[0] == PREDICTIONS:
            for index in values.nonzero()[0].tolist():
                family.add_metric((*key[1:], str(index)), float(values[index]))
    return family


def _mirror_pairs(sums: Merged) -> Metric:
    family = CounterMetricFamily(
        "penstock_mirror_pairs",
        "Pairs of an answer and its copy's, by slice (empty: of all requests) and result: pairs: compared. differing: "
        "beyond the tolerance. mismatched: of these, by names, datatypes or shapes. ranked: with classes to rank. "
        "agree: of these, with the same first class.",
        labels=(*LABELS[MIRROR_PAIRS], "result"),
    )
    for key, values in sums.items():
        if key[0] == MIRROR_PAIRS:
            for result, count in zip(PAIR_COUNTS, values.tolist(), strict=True):
                family.add_metric((*key[1:], result), float(count))
    return family


def _mirror_not_finite(sums: Merged) -> Metric:
    family = CounterMetricFamily(
        "penstock_mirror_non_finite_pairs",
        "Pairs with a NaN or an infinity in an output, by where. original, copy: on that side alone. different: on "
        "both, and not the same ones in the same places. both: the same ones in the same places.",
        labels=(*LABELS[MIRROR_OUTPUT], "where"),
    )
    for key, values in sums.items():
        if key[0] == MIRROR_OUTPUT:
            output = OutputComparison(*values.tolist())
            alone = output.original_non_finite + output.copy_non_finite
            for where, count in (
                ("original", output.original_non_finite),
                ("copy", output.copy_non_finite),
                ("different", output.non_finite - alone),
                ("both", output.both_non_finite),
            ):
                family.add_metric((*key[1:], where), float(count))
    return family


def _mirror_durations(sums: Merged) -> Metric:
    family = HistogramMetricFamily(
        "penstock_mirror_duration_seconds",
        "Time at Triton of the originals and of the copies of the same requests.",
        labels=LABELS[MIRROR_TIME],
    )
    for key, values in sums.items():
        if key[0] == MIRROR_TIME:
            histogram = request_histogram(values)
            rows = histogram.cumulative(_COARSE_PER_OCTAVE)
            family.add_metric(key[1:], buckets=_shown(rows), sum_value=histogram.sum_s)
    return family


def _mirror_differences(sums: Merged) -> Metric:
    family = HistogramMetricFamily(
        "penstock_mirror_difference",
        "How much an output differs in one pair: absolute, relative (to the largest magnitude), cosine (distance of "
        "the worst row), divergence (total variation of the worst row's scores).",
        labels=LABELS[MIRROR_DIFFERENCE],
    )
    for key, values in sums.items():
        if key[0] == MIRROR_DIFFERENCE:
            running = values.cumsum().tolist()
            bounds = [(upper_bound(i), running[i]) for i in range(0, len(running) - 1, _DIFFERENCE_STRIDE)]
            buckets = [*((repr(bound), float(count)) for bound, count in bounds), ("+Inf", float(running[-1]))]
            family.add_metric(key[1:], buckets=buckets, sum_value=None)
    return family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"penstock_{name}", words, value=float(value))


def _stage_cumulative(values: Values) -> list[tuple[float, int]]:
    running = values[1:].cumsum().tolist()
    return [*((stage_upper_bound_s(bucket), count) for bucket, count in enumerate(running)), (math.inf, running[-1])]


def _shown(rows: list[tuple[float, int]]) -> Buckets:
    return [
        ("+Inf" if math.isinf(bound) else repr(bound), float(count))
        for bound, count in rows
        if _LEAST_S <= bound <= _MOST_S or math.isinf(bound)
    ]
