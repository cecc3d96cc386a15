"""The findings as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.chaos.result import Promise, Result


def print_table(console: Console, results: Sequence[Result]) -> None:
    """Print one row for each experiment, then what failed and how."""
    table = Table(title="Lost requests", title_justify="left")
    for heading in ("experiment", "requests", "failed", "over deadline", "p50 ms", "p99 ms", "max ms", "found", "kept"):
        table.add_column(heading, justify="left" if heading in {"experiment", "found", "kept"} else "right")
    for result in results:
        summary = result.summary
        times = (summary.quantile_ms(share) for share in (0.5, 0.99, 1.0))
        table.add_row(
            result.name,
            f"{summary.requests:,}",
            str(summary.failed),
            str(summary.over_deadline),
            *("-" if value is None else f"{value:.1f}" for value in times),
            "\n".join(f"{name} {_words(value)}" for name, value in result.facts.items()),
            "\n".join([*(["VOID: no CPU"] if result.void else []), *map(_told, result.promises)]),
        )
    console.print(table)
    for result in results:
        for kind, count in result.summary.kinds.items():
            console.print(f"{result.name}: {count} x {kind}: {result.summary.examples[kind]}", highlight=False)


def _told(promise: Promise) -> str:
    return f"{'yes' if promise.kept else 'NO'}: {promise.words}"


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {one:g}" for name, one in value.items())
    return f"{value:.4%}" if isinstance(value, float) else str(value)
