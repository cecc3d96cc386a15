"""The table and the JSON of a run with slow clients."""

from __future__ import annotations

import math
from typing import Any

from loadtest.slow_clients.crowd import KINDS
from loadtest.slow_clients.experiment import Found
from loadtest.slow_clients.steady import Span

LONGEST_S = 10.0
WORST_RATIO = 1.10


def kept(found: Found) -> bool:
    """Whether both promises were kept, with every client there and every ordinary request answered."""
    return (
        found.longest_s <= LONGEST_S
        and found.ratio <= WORST_RATIO
        and not any(crowd.refused for crowd in found.crowds)
        and not found.alone.failures
        and not found.beside.failures
    )


def markdown(found: Found) -> str:
    """Return what was found, for a person."""
    lines = [
        f"{len(found.crowds)} x {found.clients} slow clients beside {found.rate:g} requests/s; latency from when due.",
        "",
        "| slow in | clients | longest s | median s | told |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        seconds = sorted(one for crowd in found.crowds for one in crowd.seconds[kind])
        told: dict[str, int] = {}
        for crowd in found.crowds:
            for status, count in crowd.statuses[kind].items():
                told[status] = told.get(status, 0) + count
        shown = ", ".join(f"{status}: {count}" for status, count in sorted(told.items()))
        longest = f"{seconds[-1]:.2f}" if seconds else "-"
        median = f"{seconds[len(seconds) // 2]:.2f}" if seconds else "-"
        lines.append(f"| {kind} | {len(seconds)} | {longest} | {median} | {shown} |")
    lines += [
        "",
        "| others | requests | failed | p50 ms | p99 ms |",
        "|---|---|---|---|---|",
        _row("without slow clients", found.alone),
        _row("with slow clients", found.beside),
        "",
        "| promise | found | target | |",
        "|---|---|---|---|",
        _promise("longest slow client, s", found.longest_s, LONGEST_S),
        _promise("p99 of the others, with / without", found.ratio, WORST_RATIO),
    ]
    return "\n".join(lines) + "\n"


def as_json(found: Found, facts: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "facts": facts,
        "kept": kept(found),
        "clients": found.clients,
        "rate_per_s": found.rate,
        "longest_s": found.longest_s if math.isfinite(found.longest_s) else None,
        "ratio_p99": found.ratio if math.isfinite(found.ratio) else None,
        "targets": {"longest_s": LONGEST_S, "ratio_p99": WORST_RATIO},
        "others": {"without": _span(found.alone), "with": _span(found.beside)},
        "crowds": [
            {
                "left": crowd.left,
                "refused": crowd.refused,
                "ended": {kind: len(seconds) for kind, seconds in crowd.seconds.items()},
                "longest_s": {kind: max(seconds, default=None) for kind, seconds in crowd.seconds.items()},
                "statuses": crowd.statuses,
            }
            for crowd in found.crowds
        ],
    }


def _row(name: str, span: Span) -> str:
    failed = ", ".join(f"{why}: {count}" for why, count in span.failures.items()) or "0"
    return (
        f"| {name} | {len(span.latencies_s)} | {failed} | {span.quantile_ms(0.5):.2f} | {span.quantile_ms(0.99):.2f} |"
    )


def _promise(name: str, value: float, target: float) -> str:
    return f"| {name} | {value:.2f} | <= {target:.2f} | {'kept' if value <= target else 'MISSED'} |"


def _span(span: Span) -> dict[str, Any]:
    return {
        "requests": len(span.latencies_s),
        "failures": span.failures,
        "p50_ms": _finite(span.quantile_ms(0.5)),
        "p99_ms": _finite(span.quantile_ms(0.99)),
    }


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
