"""The result of an SLO run, as a table for a person and as JSON for a program."""

from __future__ import annotations

import math
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.generator import Result
from loadtest.slo_file import SloFile
from services.core.slo import Finding, Outcome, Verdict

EXIT_CODES = {Outcome.MET: 0, Outcome.MISSED: 1, Outcome.VOID: 2}
_STYLES = {Outcome.MET: "green", Outcome.MISSED: "bold red", Outcome.VOID: "yellow"}
_LOWER_BOUNDS = ("throughput_per_s", "correctness")


def as_json(spec: SloFile, verdict: Verdict, result: Result | None) -> dict[str, Any]:
    """Return everything that the verdict rests on; infinite numbers (no answer) as null."""
    document: dict[str, Any] = {
        "verdict": verdict.outcome.value,
        "exit_code": EXIT_CODES[verdict.outcome],
        "reasons": list(verdict.reasons),
        "objectives": [_finding(finding) for finding in verdict.findings],
        "target": spec.target.model_dump(mode="json"),
        "load": spec.load.model_dump(mode="json"),
    }
    if result is not None:
        document |= {
            "started_at": result.started_at,
            "stopped_by": result.stopped_by or None,
            **result.record.summary(),
            "answers_per_s": result.record.answers_in_window / spec.load.duration_s,
            "generator": generator_state(result),
            "timeline": result.record.timeline(),
        }
    return document


def generator_state(result: Result) -> dict[str, Any]:
    """Return how well the load generator itself kept up."""
    late_s = result.record.lateness.quantile(0.99)
    return {
        "lateness_p99_ms": None if late_s is None else round(late_s * 1e3, 3),
        "busy_share": round(result.busy_share, 4),
    }


def print_table(console: Console, spec: SloFile, verdict: Verdict, result: Result | None) -> None:
    """Print objectives, counts and the verdict."""
    if verdict.findings:
        console.print(_objectives(verdict))
    if result is not None:
        for line in _counts(result):
            console.print(line, markup=False, highlight=False)
    for reason in verdict.reasons:
        console.print(f"void: {reason}", style="yellow", markup=False, highlight=False)
    meaning = {
        Outcome.MET: f"{spec.target.model} keeps its objectives",
        Outcome.MISSED: f"{spec.target.model} misses an objective",
        Outcome.VOID: "nothing was shown: neither met nor missed",
    }[verdict.outcome]
    console.print(f"{verdict.outcome.value.upper()}: {meaning}", style=_STYLES[verdict.outcome], highlight=False)


def _objectives(verdict: Verdict) -> Table:
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("objective", "bound", "measured", "95 % range", "samples", "needed", "verdict"):
        table.add_column(column, justify="left" if column in {"objective", "verdict"} else "right", no_wrap=True)
    for one in verdict.findings:
        sign = ">=" if one.objective in _LOWER_BOUNDS else "<="
        interval = "" if one.low is None else f"{_number(one.low)} to {_number(one.high)}"
        words = one.outcome.value + (f" ({one.reason})" if one.reason else "")
        cells = (one.objective, f"{sign} {_number(one.bound)}", _number(one.measured), interval)
        table.add_row(*cells, str(one.samples), str(one.needed), words, style=_STYLES[one.outcome])
    return table


def _counts(result: Result) -> list[str]:
    summary = result.record.summary()
    versions = ", ".join(f"version {name or '?'}: {count}" for name, count in summary["versions"].items()) or "none"
    roles = ", ".join(f"{name}: {count}" for name, count in summary["roles"].items() if name != "unnamed")
    lines = [
        "requests {requests}: answered {answered}, failed {failed}, wrong items {wrong} of {items}".format(**summary),
        f"answers by {versions}" + (f" ({roles})" if roles else ""),
    ]
    lines += [f"  {count} x {kind}: {summary['examples'][kind]}" for kind, count in summary["failures"].items()]
    state = generator_state(result)
    late = "never looked" if state["lateness_p99_ms"] is None else f"{state['lateness_p99_ms']:.2f} ms late (p99)"
    lines.append(
        f"generator: {late}, wanted a CPU {state['busy_share']:.0%} of the time; "
        f"{summary['waited_for_a_connection']} requests waited for a free connection"
    )
    return lines


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "objective": finding.objective,
        "bound": finding.bound,
        "measured": _finite(finding.measured),
        "low": _finite(finding.low),
        "high": _finite(finding.high),
        "samples": finding.samples,
        "needed": finding.needed,
        "verdict": finding.outcome.value,
        "reason": finding.reason,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)


def _number(value: float | None) -> str:
    if value is None:
        return "no data"
    return f"{value:.4g}" if math.isfinite(value) else "no answer"
