"""Draws the rollout's state machine from its table: ``python -m services.core.rollouts.transitions_diagram``."""

from __future__ import annotations

import sys

from services.core.rollouts.rollout import Phase
from services.core.rollouts.transitions import TRANSITIONS, Transition

BEGIN = "<!-- transitions:begin -->"
END = "<!-- transitions:end -->"


def _label(row: Transition) -> str:
    guard = f" [{row.guard.name}]" if row.guard else ""
    effect = f" / {row.effect.name}" if row.effect else ""
    return f"{row.event.value}{guard}{effect}"


def diagram() -> str:
    """Return the table as a Mermaid state diagram, fenced for Markdown."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.PREPARING.value}"]
    lines += [f"    {row.source.value} --> {row.target.value}: {_label(row)}" for row in TRANSITIONS]
    lines += [f"    {phase.value} --> [*]" for phase in Phase if phase.terminal]
    return "\n".join([*lines, "```"])


def section_in(document: str) -> str | None:
    """Return what a document has between the markers, or None where it has no markers."""
    before, begin, rest = document.partition(BEGIN)
    section, end, _ = rest.partition(END)
    del before
    return section.strip() if begin and end else None


if __name__ == "__main__":
    sys.stdout.write(f"{BEGIN}\n{diagram()}\n{END}\n")
