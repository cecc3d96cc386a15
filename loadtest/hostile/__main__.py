"""``python -m loadtest.hostile``: each hostile input against a bare Triton, then through the gateway in front of one.

Exit status 0: each harms a bare Triton, and each is refused in time without a trace in the Triton behind the gateway.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click

from loadtest.bench.system import System
from loadtest.hostile import models
from loadtest.hostile.bare import BareTriton
from loadtest.hostile.cases import CASES, Case
from loadtest.hostile.gate import Behind, Refusal, refused
from loadtest.hostile.strike import Harm, strike
from loadtest.run import EXIT_FAILED, run_command

_HEAD = ("input", "what it is", "bytes", "a bare Triton", "the gateway says", "median ms", "worst ms", "may take")


class Outcome(NamedTuple):
    """A case with both sides of it."""

    case: Case
    harm: Harm
    refusal: Refusal

    @property
    def faults(self) -> list[str]:
        """Return what is not as it should be, whatever the time that it took."""
        unharmed = [] if self.harm.words else [f"a bare Triton survives it: {self.harm}"]
        return [*unharmed, *self.refusal.faults]

    @property
    def late(self) -> bool:
        """Whether the refusal took longer than it may."""
        return self.refusal.median_ms > self.refusal.bound_ms


def run(folder: Path, cases: Sequence[Case] = CASES) -> list[Outcome]:
    """Run cases: all against a bare Triton first, then all through a gateway."""
    repository, marker = folder / "repository", folder / "marker"
    models.publish(repository)
    with System(repository, folder, workers=1) as system:
        bare = BareTriton(system.direct.child("tritonserver"), folder)
        try:
            harms = [strike(bare, case, marker) for case in cases]
        finally:
            bare.stop()
        behind = Behind(system)
        refusals = [refused(system, behind, case, marker) for case in cases]
    return [Outcome(*row) for row in zip(cases, harms, refusals, strict=True)]


@click.command(context_settings={"max_content_width": 120})
@click.option("--case", "words", multiple=True, help="Only the cases with these words in their names. Repeatable.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="Write JSON.")
def main(words: tuple[str, ...], file: Path | None) -> None:
    """Show that hostile inputs end, hang or take over a bare Triton, and that the gateway refuses them."""
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="penstock-hostile-") as folder:
        outcomes = run(Path(folder), cases)
    for line in _table([_HEAD, *(_row(outcome) for outcome in outcomes)]):
        click.echo(line)
    for outcome in outcomes:
        for fault in outcome.faults:
            click.echo(f"{outcome.case.name}: {fault}", err=True)
        if outcome.late:
            click.echo(f"{outcome.case.name}: refused too late", err=True)
    if file is not None:
        with click.open_file(str(file), "w") as out:
            out.write(json.dumps([_document(outcome) for outcome in outcomes], indent=2) + "\n")
    if any(outcome.faults or outcome.late for outcome in outcomes):
        sys.exit(EXIT_FAILED)


def _row(outcome: Outcome) -> tuple[str, ...]:
    case, harm, refusal = outcome
    says = f"{refusal.status} {refusal.words}"
    return (
        case.name,
        case.about,
        f"{refusal.bytes:,}",
        harm.words or "survives",
        says if len(says) <= 60 else f"{says[:57]}...",  # noqa: PLR2004 - one line
        f"{refusal.median_ms:.1f}",
        f"{refusal.worst_ms:.1f}",
        f"{refusal.bound_ms:g}",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *rest = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [head, "|---" * len(rows[0]) + "|", *rest]


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.case.name,
        "about": outcome.case.about,
        "harm": {**asdict(outcome.harm), "words": outcome.harm.words},
        "refusal": {**asdict(outcome.refusal), "bound_ms": outcome.refusal.bound_ms},
        "faults": outcome.faults,
        "late": outcome.late,
    }


if __name__ == "__main__":
    run_command(main)
