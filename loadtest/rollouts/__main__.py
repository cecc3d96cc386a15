"""``python -m loadtest.rollouts``: how often the analysis is wrong, in simulated rollouts, beside rules of thumb."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import click

from loadtest.rollouts.rivals import MannWhitney, Rival, Threshold
from loadtest.rollouts.scenarios import SAME, WORSE, Scenario
from loadtest.rollouts.simulation import Simulated, simulate
from loadtest.rollouts.tables import markdown, summarise

_EXIT_MISSED = 1
_RIVALS = (Threshold.name, MannWhitney.name)
_AT_ONCE = 8


@click.command(context_settings={"max_content_width": 120})
@click.option("--same", type=click.IntRange(0), default=1000, show_default=True, help="Rollouts of identical versions.")
@click.option("--worse", type=click.IntRange(0), default=200, show_default=True, help="Rollouts of each worse version.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first rollout.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON.")
def main(*, same: int, worse: int, seed: int, file: Path | None) -> None:
    """Simulate; exit 1 where false rollbacks are over their bound, or too little harm is found."""
    plan = [*((scenario, same) for scenario in SAME if same), *((scenario, worse) for scenario in WORSE if worse)]
    if not plan:
        raise click.UsageError("--same 0 and --worse 0 leave nothing to simulate")
    summaries = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for scenario, count in plan:
            sys.stderr.write(f"{scenario.name}: {count} rollouts\n")
            runs = list(pool.map(partial(_run, scenario), range(seed, seed + count), chunksize=_AT_ONCE))
            summaries.append(summarise(scenario, runs, _RIVALS))
    sys.stdout.write(markdown(summaries))
    if file is not None:
        file.write_text(json.dumps([one.as_json() for one in summaries], indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(one.kept for one in summaries) else _EXIT_MISSED)


def _run(scenario: Scenario, seed: int) -> Simulated:
    rivals: list[Rival] = [Threshold(), MannWhitney()]
    return simulate(scenario.spec, scenario.traffic, seed, scenario.longest_s, rivals)


if __name__ == "__main__":
    main()
