"""The comparison as numbers, as a Markdown table and as JSON. Medians over the rounds, with least and most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from loadtest.bench.measure import DIRECT, Case, Sample
from loadtest.bench.model import MODELS
from loadtest.bench.targets import Finding

_TITLES = {model.name: model.title for model in MODELS}


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize at least one number."""
        return cls(median(values), min(values), max(values))

    def show(self, form: Callable[[float], str]) -> str:
        """Return "median (least to most)", or one number where they are the same."""
        if form(self.least) == form(self.most):
            return form(self.median)
        return f"{form(self.median)} ({form(self.least)} to {form(self.most)})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One case. Differences and ratios are taken between the two runs of each round, then summarized.

    Attributes:
        side: Which gateway is compared with Triton direct.
        direct_per_s: Requests per second to Triton.
        gateway_per_s: Requests per second through the gateway.
        ratio: Of the two.
        direct_p50_us: Median latency, microseconds; likewise the others.
        added_p50_us: What the gateway adds to the median.
        added_p99_us: What it adds to the 99th percentile.
        gateway_cpu_us: CPU of all gateway processes per request.
        generator_cpu_us: CPU of the load generator per request.
        others_share: Share of the machine that other processes took; much of it makes the numbers too bad.
    """

    case: Case
    side: str
    direct_per_s: Spread
    gateway_per_s: Spread
    ratio: Spread
    direct_p50_us: Spread
    direct_p99_us: Spread
    added_p50_us: Spread
    added_p99_us: Spread
    gateway_cpu_us: Spread
    generator_cpu_us: Spread
    others_share: Spread


def compare(samples: Sequence[Sample]) -> list[Comparison]:
    """Pair the runs of each round and summarize them by case and gateway, in order of appearance."""
    by_case: dict[Case, dict[str, list[Sample]]] = {}
    for sample in samples:
        by_case.setdefault(sample.case, {}).setdefault(sample.side, []).append(sample)
    return [
        _compare(case, side, sides[DIRECT], runs)
        for case, sides in by_case.items()
        for side, runs in sides.items()
        if side != DIRECT
    ]


def _compare(case: Case, side: str, direct: Sequence[Sample], gateway: Sequence[Sample]) -> Comparison:
    pairs = list(zip(direct, gateway, strict=True))
    return Comparison(
        case=case,
        side=side,
        direct_per_s=Spread.of([one.requests_per_s for one in direct]),
        gateway_per_s=Spread.of([one.requests_per_s for one in gateway]),
        ratio=Spread.of([through.requests_per_s / straight.requests_per_s for straight, through in pairs]),
        direct_p50_us=Spread.of([one.p50_us for one in direct]),
        direct_p99_us=Spread.of([one.p99_us for one in direct]),
        added_p50_us=Spread.of([through.p50_us - straight.p50_us for straight, through in pairs]),
        added_p99_us=Spread.of([through.p99_us - straight.p99_us for straight, through in pairs]),
        gateway_cpu_us=Spread.of([one.gateway_cpu_us for one in gateway]),
        generator_cpu_us=Spread.of([one.generator_cpu_us for one in (*direct, *gateway)]),
        others_share=Spread.of([one.others_share for one in (*direct, *gateway)]),
    )


def markdown(comparisons: Sequence[Comparison], facts: dict[str, Any]) -> str:
    """Return the table for the README, with what it was measured on."""
    several = len({one.side for one in comparisons}) > 1
    head = (
        *(("gateway",) if several else ()), "protocol", "input", "connections", "direct req/s", "gateway req/s",
        "ratio", "direct p50 / p99 ms", "added p50 ms", "added p99 ms", "gateway CPU us/request",
    )  # fmt: skip
    rows = [(*((one.side,) if several else ()), *_cells(one)) for one in comparisons]
    generator = max(one.generator_cpu_us.median for one in comparisons)
    others = max(one.others_share.median for one in comparisons)
    note = (
        f"{facts['date']}, {facts['cpu']}, {facts['cores']} cores shared by load generator, gateway "
        f"({facts['workers']} workers) and Triton {facts['triton']}; Python {facts['python']}, {facts['h2load']}, "
        f"which itself took at most {generator:.0f} us of CPU per request. Median of {facts['rounds']} rounds (least "
        f"to most), direct and gateway in turn; other processes took at most {others:.0%} of the machine. Every "
        "request was counted as a success by Triton, and by the gateway where it went through it."
    )
    return f"{table(head, rows)}\n\n{note}\n"


def _cells(one: Comparison) -> tuple[str, ...]:
    return (
        {"rest": "REST", "grpc": "gRPC"}[one.case.protocol],
        _TITLES.get(one.case.model, one.case.model),
        str(one.case.concurrency),
        one.direct_per_s.show("{:,.0f}".format),
        one.gateway_per_s.show("{:,.0f}".format),
        one.ratio.show("{:.2f}".format),
        f"{_ms(one.direct_p50_us.median)} / {_ms(one.direct_p99_us.median)}",
        one.added_p50_us.show(_ms),
        one.added_p99_us.show(_ms),
        one.gateway_cpu_us.show("{:.0f}".format),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets_table(findings: Sequence[Finding]) -> str:
    """Return what was aimed at beside what was measured."""
    rows = [(one.target.words, one.target.bound_words, one.measured_words, one.verdict) for one in findings]
    return table(("target", "bound", "measured", ""), rows) + "\n"


def as_json(
    comparisons: Sequence[Comparison], samples: Sequence[Sample], findings: Sequence[Finding], facts: dict[str, Any]
) -> dict[str, Any]:
    """Return everything that was measured as JSON-able values."""
    return {
        "facts": facts,
        "comparisons": [asdict(one) for one in comparisons],
        "targets": [one.as_json() for one in findings],
        "samples": [asdict(one) for one in samples],
    }


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1e3:.2f}"
