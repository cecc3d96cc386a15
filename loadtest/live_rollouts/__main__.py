"""``python -m loadtest.live_rollouts``: same and worse candidates in front of a real Triton, under load."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from loadtest.live_rollouts.candidates import ANALYSIS, CHECKS, DIFFERENT, MEMORY, RATE_PER_S, SAME, WORSE, plan
from loadtest.live_rollouts.experiment import LiveRun, run
from loadtest.live_rollouts.tables import markdown, summarise
from loadtest.run import run_command

_EXIT_MISSED = 1


@click.command(context_settings={"max_content_width": 120})
@click.option("--same", type=click.IntRange(0), default=20, show_default=True, help="Rollouts of identical versions.")
@click.option("--each-harm", type=click.IntRange(0), default=10, show_default=True, help="Rollouts with each harm.")
@click.option("--shadows", type=click.IntRange(0), default=1, show_default=True, help="Shadows that differ on 1 %.")
@click.option("--only", multiple=True, type=click.Choice(CHECKS), help="Of the harms those that these checks find.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Directory to keep state and logs in.")
def main(
    *, same: int, each_harm: int, shadows: int, only: tuple[str, ...], file: Path | None, keep: Path | None
) -> None:
    """Roll out candidates known to be the same or worse; exit 1 where one harm is missed or a good one rolled back."""
    candidates = list(plan(same, each_harm, shadows, only or CHECKS))
    if not candidates:
        raise click.UsageError("--same 0, --each-harm 0 and --shadows 0 leave nothing to roll out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    folder = keep or Path(tempfile.mkdtemp(prefix="penstock-live-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        runs = run(candidates, folder, lambda text: print(text, file=sys.stderr))
        sent = json.loads((folder / "traffic.log").read_text(encoding="utf-8").splitlines()[-1])
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    by_name: dict[str, list[LiveRun]] = {}
    for one in runs:
        by_name.setdefault(one.candidate, []).append(one)
    kinds = [summarise(kind, by_name[kind.name]) for kind in (SAME, *WORSE, DIFFERENT) if kind.name in by_name]
    sys.stdout.write(markdown(kinds))
    late_ms, busy = sent["generator"]["lateness_p99_ms"], sent["generator"]["busy_share"]
    words = f"{RATE_PER_S} requests/s; p99 of what the generator was late {late_ms} ms, busy {busy:.0%} of its core"
    sys.stdout.write(f"\n{words}\n")
    if file is not None:
        found = {
            "analysis": ANALYSIS,
            "memory": MEMORY,
            "rate_per_s": RATE_PER_S,
            "generator": sent["generator"],
            "kinds": [kind.as_json() for kind in kinds],
            "runs": [one.as_json() for one in runs],
        }
        file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(kind.kept for kind in kinds) else _EXIT_MISSED)


if __name__ == "__main__":
    run_command(main)
