"""The comparison as numbers, as a Markdown table and as JSON. Medians over the rounds, with least and most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.bench.report import Spread, table
from loadtest.peers.check import CALLERS, ROWS
from loadtest.peers.forms import JSON
from loadtest.peers.measure import Results, Sample

BASE = "Triton direct"


@dataclass(frozen=True, slots=True)
class Cell:
    """One server with one kind of body at one concurrency.

    Attributes:
        requests_per_s: Throughput.
        p99_us: 99th percentile of the latency, microseconds.
        cpu_us: CPU of all server processes per request, microseconds.
    """

    requests_per_s: Spread
    p99_us: Spread
    cpu_us: Spread


@dataclass(frozen=True, slots=True)
class Line:
    """One server with one kind of body.

    Attributes:
        peer: Its name.
        body: ``JSON`` or ``binary``.
        cells: By concurrency, ascending.
    """

    peer: str
    body: str
    cells: dict[int, Cell]


def lines(samples: Sequence[Sample]) -> list[Line]:
    """Summarize the rounds: JSON first, servers in their order."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.body, sample.peer), []).append(sample)
    ordered = sorted(found.items(), key=lambda item: item[0][0] != JSON)
    return [Line(peer, body, _cells(runs)) for (body, peer), runs in ordered]


def _cells(runs: Sequence[Sample]) -> dict[int, Cell]:
    cells: dict[int, Cell] = {}
    for concurrency in sorted({one.concurrency for one in runs}):
        here = [one for one in runs if one.concurrency == concurrency]
        cells[concurrency] = Cell(
            Spread.of([one.requests_per_s for one in here]),
            Spread.of([one.p99_us for one in here]),
            Spread.of([one.cpu_us for one in here]),
        )
    return cells


def markdown(results: Results, facts: dict[str, Any]) -> str:
    """Return the table for the README, with what it was measured on; a peer without figures says why."""
    summary = lines(results.samples)
    concurrency = sorted({number for line in summary for number in line.cells})
    head = ["server", "version", "body"]
    for number in concurrency:
        head += [f"req/s x{number}", f"p99 ms x{number}"]
    if concurrency:
        head += [f"CPU us/request x{concurrency[-1]}", f"of Triton direct x{concurrency[-1]}"]
    base = {line.body: line.cells for line in summary if line.peer == BASE}
    rows = [_row(line, results, base.get(line.body), concurrency) for line in summary]
    rows += [[peer, results.versions.get(peer, ""), f"no figures: {why}"] for peer, why in results.void.items()]
    return f"{table(head, [row + [''] * (len(head) - len(row)) for row in rows])}\n\n{_note(results, facts)}\n"


def _row(line: Line, results: Results, base: dict[int, Cell] | None, concurrency: Sequence[int]) -> list[str]:
    row = [line.peer, results.versions[line.peer], line.body]
    for number in concurrency:
        cell = line.cells[number]
        row += [cell.requests_per_s.show("{:,.0f}".format), f"{cell.p99_us.median / 1e3:.2f}"]
    most = concurrency[-1]
    row.append(f"{line.cells[most].cpu_us.median:,.0f}")
    share = line.cells[most].requests_per_s.median / base[most].requests_per_s.median if base else None
    return [*row, "" if share is None else f"{share:.2f}"]


def _note(results: Results, facts: dict[str, Any]) -> str:
    others = max((one.others_share for one in results.samples), default=0.0)
    return (
        f"{facts['date']}, {facts['cpu']}, {facts['cores']} cores shared by load generator and server; "
        f"{facts['h2load']}. The same ONNX model (y = 2 x, 64 FP32) and row everywhere, two server processes each, "
        f"batching on, one server at a time. Median of {facts['rounds']} rounds (least to most) of "
        f"{facts['seconds']:g} s; CPU is that of all server processes, the model's included; other processes took at "
        f"most {others:.0%} of the machine. Every answer had status 200, and before and after a server was "
        f"measured {ROWS} different rows, {CALLERS} at a time, had each its own right answer."
    )


def as_json(results: Results, facts: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured as JSON-able values."""
    return {
        "facts": facts,
        "versions": results.versions,
        "void": results.void,
        "lines": [asdict(line) for line in lines(results.samples)],
        "samples": [asdict(one) for one in results.samples],
    }
