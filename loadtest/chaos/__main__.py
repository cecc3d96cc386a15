"""``python -m loadtest.chaos``: what clients lose while Tritons and workers are killed, stopped and restarted."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest.bench.system import System
from loadtest.chaos import experiments
from loadtest.chaos.clients import Clients
from loadtest.chaos.models import MODELS, publish_models
from loadtest.chaos.report import print_table
from loadtest.chaos.result import Result
from loadtest.chaos.stage import Stage
from loadtest.run import run_command

EXIT_MISSED = 1
_PIPE_WIDTH = 160
NAMES = ("kill", "stop", "roll-tritons", "end-servers", "kill-models", "sick", "roll-workers")


@click.command(context_settings={"max_content_width": 120})
@click.option("--tritons", type=click.IntRange(2), default=3, show_default=True, help="Replicas.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Workers of the gateway.")
@click.option("--rate", type=click.FloatRange(1), default=300.0, show_default=True, help="Requests per second.")
@click.option("--deadline", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds for an answer.")
@click.option("--kills", type=click.IntRange(1), default=50, show_default=True, help="How many Tritons are killed.")
@click.option("--requests", type=click.IntRange(1), default=50_000, show_default=True, help="Least while they are.")
@click.option("--stops", type=click.IntRange(1), default=20, show_default=True, help="How many are stopped for 5 s.")
@click.option(
    "--settle", type=click.FloatRange(0), default=40.0, show_default=True, help="Longest wait for traffic, s."
)
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Experiments; default is all.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Directory to keep state and logs in.")
@click.option("--json", "json_only", is_flag=True, help="Print JSON only.")
def main(*, only: tuple[str, ...], json_only: bool, keep: Path | None, **options: Any) -> None:
    """Count what clients lose under faults, with a constant load of REST and gRPC; exit 1 when a promise is broken."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    with tempfile.TemporaryDirectory(prefix="penstock-chaos-") as name:
        results = run(keep or Path(name), only or NAMES, say, **options)
    if json_only:
        sys.stdout.write(json.dumps([result.as_json() for result in results], indent=2) + "\n")
    else:
        print_table(Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH), results)
    sys.exit(0 if all(result.kept for result in results) else EXIT_MISSED)


def run(
    folder: Path,
    only: tuple[str, ...],
    say: Callable[[str], None],
    *,
    tritons: int,
    workers: int,
    rate: float,
    deadline: float,
    kills: int,
    requests: int,
    stops: int,
    settle: float,
) -> list[Result]:
    """Start the system and its load, and make the experiments in order."""
    publish_models(folder / "repository")
    todo: dict[str, Callable[[Stage], Result]] = {
        "kill": lambda stage: experiments.kill(stage, kills, requests),
        "stop": lambda stage: experiments.stop(stage, stops),
        "roll-tritons": experiments.roll_tritons,
        "end-servers": experiments.end_servers,
        "kill-models": experiments.kill_models,
        "sick": experiments.sick,
        "roll-workers": experiments.roll_workers,
    }
    results: list[Result] = []
    say(f"starting {tritons} Tritons, controller and gateway")
    with System(folder / "repository", folder, workers, tritons) as system:
        gateway = system.gateway
        with Clients(gateway.rest, gateway.grpc, MODELS, rate, deadline) as clients:
            stage = Stage(system, clients, say, settle)
            for triton in system.tritons:
                stage.settle(triton)
            for name in only:
                say(f"--- {name}")
                results.append(todo[name](stage))
                say(f"{results[-1].summary.failed} of {results[-1].summary.requests} requests failed")
    return results


if __name__ == "__main__":
    run_command(main)
