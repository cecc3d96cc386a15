"""``python -m loadtest.mirror``: live answers without and with a mirror, in turns. Exit 1: p99 rises 5 %; 2: void."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import click

from loadtest.mirror.experiment import Plan, run
from loadtest.mirror.model import MirroredModel
from loadtest.mirror.report import is_met, markdown
from loadtest.run import run_command

_EXIT_CODES = {True: 0, False: 1, None: 2}


@click.command(context_settings={"max_content_width": 120})
@click.option("--rate", type=click.FloatRange(1.0), default=100.0, show_default=True, help="Requests per second.")
@click.option("--seconds", type=click.FloatRange(1.0), default=5.0, show_default=True, help="Length of a round.")
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True, help="Rounds of each kind.")
@click.option("--percent", type=click.IntRange(0, 100), default=100, show_default=True, help="Share that is mirrored.")
@click.option("--floor", type=click.IntRange(0, 100), default=1, show_default=True, help="Percent of the copies.")
@click.option("--base-ms", type=click.FloatRange(0.0), default=10.0, show_default=True, help="Time of a batch.")
@click.option(
    "--row-ms", type=click.FloatRange(0.0), default=0.1, show_default=True, help="Time of each request in it."
)
@click.option("--elements", type=click.IntRange(1), default=256, show_default=True, help="FP32 elements of a request.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Workers of the gateway.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the arrivals.")
def main(  # noqa: PLR0917 - options
    rate: float,
    seconds: float,
    rounds: int,
    percent: int,
    floor: int,
    base_ms: float,
    row_ms: float,
    elements: int,
    workers: int,
    seed: int,
) -> None:
    """Offer the same load without and with a mirror, in turns, and compare the latency of live answers."""

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    plan = Plan(rate, seconds, rounds, percent, floor, workers, seed)
    model = MirroredModel(32, base_ms / 1e3, row_ms / 1e3, elements)
    with tempfile.TemporaryDirectory(prefix="penstock-mirror-") as name:
        found, copies = run(model, plan, Path(name), say)
    sys.stdout.write(markdown(plan, found, copies))
    sys.exit(_EXIT_CODES[is_met(plan, found)])


if __name__ == "__main__":
    run_command(main)
