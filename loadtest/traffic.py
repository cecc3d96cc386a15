"""Background traffic: load until told to stop, then the totals as JSON.

    python -m loadtest.traffic --rest 127.0.0.1:8000 --grpc 127.0.0.1:8001 --rate 150 --data X.npz --json

SIGTERM or SIGINT ends it: requests in flight are awaited, the totals go to standard output, the exit code is 0. It
judges nothing. Exit codes: 0 stopped as asked, 1 target not ready, 2 wrong usage or data, 3 something is not installed.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click

from loadtest.dataset import find_dataset, load_dataset
from loadtest.run import run_command
from loadtest.slo_file import Load, Target, parse_slo
from services.core.errors import ConfigurationError


@click.command(context_settings={"max_content_width": 120})
@click.option("--rest", help="HOST:PORT of the REST target; with --grpc half of the load each.")
@click.option("--grpc", help="HOST:PORT of the gRPC target.")
@click.option("--model", default="digits_cnn", show_default=True)
@click.option("--rate", "rate_per_s", type=float, default=100.0, show_default=True, help="Requests per second.")
@click.option("--connections", type=int, default=16, show_default=True)
@click.option("--timeout", "timeout_s", type=float, default=5.0, show_default=True, help="Seconds for one answer.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--data", type=click.Path(path_type=Path), help="npz file with inputs and labels.")
@click.option("--repository", type=click.Path(path_type=Path), default="model_repository", show_default=True)
@click.option("--json", "json_only", is_flag=True, help="Print one JSON line and nothing else.")
def main(
    *, rest: str | None, grpc: str | None, model: str, data: Path | None, repository: Path, json_only: bool, **load: Any
) -> None:
    """Send labelled inputs until SIGTERM, then print what came back."""
    if not rest and not grpc:
        raise ConfigurationError("no target: give --rest HOST:PORT, --grpc HOST:PORT or both")
    protocol = "both" if rest and grpc else "rest" if rest else "grpc"
    addresses = {name: value for name, value in (("rest", rest), ("grpc", grpc)) if value}
    document = {
        "target": {**addresses, "protocol": protocol, "model": model},
        "load": load,
        "objectives": {"error_rate": 0},  # never judged
    }
    spec = parse_slo(document, "command line")
    totals = run_until_stopped(spec.target, spec.load, data or find_dataset(repository, model, None), quiet=json_only)
    sys.stdout.write(json.dumps(totals, indent=None if json_only else 2) + "\n")


def run_until_stopped(target: Target, load: Load, data: Path, *, quiet: bool) -> dict[str, Any]:
    """Run load until SIGTERM or SIGINT, and return the totals as JSON-able values.

    Raises:
        Unavailable: The target cannot be reached or is not ready.
        ConfigurationError: The data do not fit the model.
    """
    from loadtest.generator import generate  # importing Locust patches the standard library: before any socket is made
    from loadtest.lanes import Run
    from loadtest.payload import fitted
    from loadtest.preflight import inspect
    from loadtest.report import generator_state

    interface = inspect(target)
    run = Run(target, load, interface, fitted(load_dataset(data), interface), endless=True)

    def say_start() -> None:
        if not quiet:
            sys.stderr.write(f"{load.rate_per_s:g} requests/s to {target.model} until SIGTERM or Ctrl-C\n")

    stop_signals = (signal.SIGTERM, signal.SIGINT)
    result = generate(run, load.connections, load.timeout_s, say_start, stop_signals)
    return {
        "started_at": result.started_at,
        **result.record.summary(),
        "generator": generator_state(result),
        "timeline": result.record.timeline(),
    }


if __name__ == "__main__":
    run_command(main)
