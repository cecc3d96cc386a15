"""The table and the JSON of an overload run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from loadtest.overload.arithmetic import Span, quantile
from loadtest.overload.experiment import CALM, OVERLOAD, Run
from loadtest.overload.judgement import Judgement, doubts

_PHASES = (f"before, {CALM:g}x", f"overload, {OVERLOAD:g}x", f"after, {CALM:g}x")


def markdown(runs: Sequence[Run], judgement: Judgement) -> str:
    """Return the phases of every gateway, and the promises of the first with their targets."""
    lines = [
        f"Triton carries {runs[0].capacity:.0f} requests/s. Latency counts from when a request was due,",
        "refusals from when it was sent; what failed was answered late, with another error, or not at all.",
        "",
        "| gateway | load | offered/s | goodput/s | refused/s | failed | p50 ms | p99 ms | refusal p50 | p99 | max |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for name, phase in zip(_PHASES, run.phases, strict=True):
            length = phase.end - phase.begin
            lines.append(
                f"| {run.name} | {name} | {phase.offered / length:.0f} | {phase.goodput:.0f} | "
                f"{phase.refused / length:.0f} | {phase.failed} | {_ms(phase.latency_s, 0.5)} | "
                f"{_ms(phase.latency_s, 0.99)} | {_ms(phase.refusal_s, 0.5)} | {_ms(phase.refusal_s, 0.99)} | "
                f"{_ms(phase.refusal_s, 1.0)} |"
            )
    lines += ["", f"| {runs[0].name} | found | target | |", "|---|---|---|---|"]
    for finding in judgement.findings:
        sign = "<=" if finding.at_most else ">="
        lines.append(
            f"| {finding.promise} | {finding.found:.3g} {finding.unit} | {sign} {finding.target:.3g} {finding.unit} | "
            f"{'met' if finding.met else 'MISSED'} |"
        )
    lines += ["", f"**{judgement.outcome.value}**", *(f"- {reason}" for reason in judgement.reasons)]
    # What is only compared is not judged, but a void comparison must not look like a result.
    lines += [f"- {run.name} shows nothing: {doubt}" for run in runs[1:] for doubt in doubts(run)]
    return "\n".join(lines) + "\n"


def as_json(runs: Sequence[Run], judgement: Judgement, facts: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "facts": facts,
        "outcome": judgement.outcome.value,
        "reasons": list(judgement.reasons),
        "findings": [
            {
                "promise": finding.promise,
                "found": _finite(finding.found),
                "target": _finite(finding.target),
                "bound": "at most" if finding.at_most else "at least",
                "unit": finding.unit,
                "met": finding.met,
            }
            for finding in judgement.findings
        ],
        "runs": [
            {
                "gateway": run.name,
                "capacity_per_s": round(run.capacity, 1),
                "recovery_s": _finite(run.recovery_s),
                "generator_late_p99_ms": round(run.late_p99_s * 1e3, 2),
                "not_sent": run.not_sent,
                "void_because": doubts(run),
                "phases": [{"phase": name, **_span(one)} for name, one in zip(_PHASES, run.phases, strict=True)],
                "seconds": [_span(one) for one in run.seconds],
            }
            for run in runs
        ],
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "begin_s": round(span.begin, 3),
        "end_s": round(span.end, 3),
        "offered": span.offered,
        "good": span.good,
        "refused": span.refused,
        "failed": span.failed,
        "p50_ms": _rounded_ms(span.latency_s, 0.5),
        "p99_ms": _rounded_ms(span.latency_s, 0.99),
        "refusal_p50_ms": _rounded_ms(span.refusal_s, 0.5),
        "refusal_p99_ms": _rounded_ms(span.refusal_s, 0.99),
        "refusal_max_ms": _rounded_ms(span.refusal_s, 1.0),
    }


def _ms(ascending: Sequence[float], q: float) -> str:
    return f"{quantile(ascending, q) * 1e3:.1f}" if ascending else "-"


def _rounded_ms(ascending: Sequence[float], q: float) -> float | None:
    return round(quantile(ascending, q) * 1e3, 2) if ascending else None


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
