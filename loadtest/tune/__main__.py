"""``python -m loadtest.tune``: is the search as good as a sweep of everything? On a live Triton, with a known knee."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from loadtest.run import run_command
from loadtest.sleeping_model import SleepingModel
from loadtest.tune.run import Request, Tuned, tune
from services.core.errors import PenstockError

MODEL = SleepingModel("knee", 8, 0.020, 0.002)
SLO = "p99=150ms"
AXES = {"instances": "1,2,4", "max_batch": "1,2,4,8", "delay_us": "0,5000,40000", "preferred": "none,full"}
WITHIN = 0.9
_SHARE = 3


@click.command(context_settings={"max_content_width": 120})
@click.option("--window-s", type=click.FloatRange(0.5), default=2.0, show_default=True, help="One measurement.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for both records and plots.")
@click.option("--json", "json_only", is_flag=True, help="Print JSON only.")
def main(*, window_s: float, out: Path | None, json_only: bool) -> None:
    """Search, then sweep, and compare. Exit 0 within a tenth for a third of the trials, 1 not.

    A batch of n sleeps 20 + 2 n ms: 4 instances with batches of 8 carry 889 requests/s, and one alone with batches of
    1 carries 45.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    with tempfile.TemporaryDirectory(prefix="penstock-tune-") as name:
        folder = out if out is not None else Path(name)
        repository = Path(name) / "repository"
        MODEL.publish(repository)
        asked = Request(MODEL.name, 1, repository, SLO, folder / "search", window_s=window_s, **AXES)  # type: ignore[arg-type] # mypy sees one type for all values
        searched = tune(asked, say)
        swept = tune(replace(asked, out=folder / "sweep", exhaustive=True), say)
    found, best = _kept(searched), _kept(swept)
    allowed = len(searched.space) // _SHARE
    met = found >= WITHIN * best and searched.outcome.found.trials <= allowed
    document: dict[str, Any] = {
        "search": {"goodput_per_s": found, "trials": searched.outcome.found.trials, "best": searched.document["best"]},
        "sweep": {"goodput_per_s": best, "trials": swept.outcome.found.trials, "best": swept.document["best"]},
        "share": round(found / best, 3),
        "trials_allowed": allowed,
        "met": met,
    }
    if json_only:
        click.echo(json.dumps(document))
    else:
        for name in ("search", "sweep"):
            one = document[name]
            click.echo(f"{name}: {one['goodput_per_s']:,.0f} requests/s after {one['trials']} trials, {one['best']}")
        click.echo(
            f"{document['share']:.1%} of the sweep's best for at most {allowed} trials: {'met' if met else 'missed'}"
        )
    sys.exit(0 if met else 1)


def _kept(tuned: Tuned) -> float:
    """Return the goodput that was confirmed.

    Raises:
        PenstockError: There is none.
    """
    confirmed = tuned.outcome.confirmed
    if confirmed is None or not confirmed.met:
        raise PenstockError(f"no configuration keeps {SLO} on this machine")
    return confirmed.rate


if __name__ == "__main__":
    run_command(main)
