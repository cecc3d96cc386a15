"""The table of a build's variants: what was done, what it cost, what it won."""

from __future__ import annotations

from enginebuild.candidates import Candidate
from enginebuild.findings import Findings

HEADS = (
    "technique",
    "applied",
    "original size",
    "compressed size",
    "speed gain",
    "quality",
    "loss",
    "in a batch",
    "verdict",
)


def rows(findings: Findings) -> list[list[str]]:
    """Return a line per variant, in their order."""
    return [_row(candidate, findings.original_bytes) for candidate in findings.candidates]


def _row(candidate: Candidate, original_bytes: int) -> list[str]:
    quality, speed = candidate.quality, candidate.speed
    verdict = "refused" if candidate.objections else "passed"
    if quality is None or speed is None:
        return [_technique(candidate), "no", _size(original_bytes), *["-"] * 5, verdict]
    first = quality.metrics[0]
    return [
        _technique(candidate),
        "yes",
        _size(original_bytes),
        _size(candidate.size_bytes or 0),
        f"{speed.speedup:.2f}x ({speed.speedup_low:.2f} to {speed.speedup_high:.2f})",
        f"{first.name} {first.text} ({first.show(first.low)} to {first.show(first.high)})",
        f"{first.show_loss(first.loss)} (at most {first.show_loss(first.loss_high)})",
        candidate.batching.text if candidate.batching is not None else "-",
        verdict,
    ]


def _technique(candidate: Candidate) -> str:
    return ", ".join((candidate.name, *candidate.variant.techniques))


def _size(count: int) -> str:
    return f"{count / 1024:,.0f} KiB"
