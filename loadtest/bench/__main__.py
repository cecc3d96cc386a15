"""``python -m loadtest.bench`` (``make bench``): requests/s, added latency and CPU per request of the gateway."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil

from loadtest.bench.h2load import H2Load, find_h2load
from loadtest.bench.measure import PROTOCOLS, Case, Measurement
from loadtest.bench.model import publish
from loadtest.bench.report import as_json, compare, markdown
from loadtest.bench.system import System
from loadtest.run import run_command


@click.command(context_settings={"max_content_width": 120})
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Pairs of runs for each case.")
@click.option("--seconds", type=click.FloatRange(0.05), default=3.0, show_default=True, help="Length of one run.")
@click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, help="Worker processes of the gateway."
)
@click.option("--concurrency", multiple=True, type=click.IntRange(1), default=(1, 8, 32), show_default=True)
@click.option("--protocol", multiple=True, type=click.Choice(PROTOCOLS), default=PROTOCOLS, show_default=True)
@click.option("--json", "json_only", is_flag=True, help="Print JSON only.")
def main(
    *,
    rounds: int,
    seconds: float,
    workers: int,
    concurrency: tuple[int, ...],
    protocol: tuple[str, ...],
    json_only: bool,
) -> None:
    """Compare the gateway with Triton direct on a model that does next to nothing."""

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    program = find_h2load(say)
    cases = [Case(one, number) for one in protocol for number in concurrency]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as name:
        folder = Path(name)
        publish(folder / "repository")
        facts = _facts(program, rounds, workers)
        say("starting Triton, controller and gateway")
        with System(folder / "repository", folder, workers) as system:
            facts["triton"] = system.triton_version()
            measurement = Measurement(system, H2Load(program, folder), folder)
            measurement.verify()
            samples = measurement.run(cases, rounds, seconds, say)
    comparisons = compare(samples)
    if json_only:
        sys.stdout.write(json.dumps(as_json(comparisons, samples, facts), indent=2) + "\n")
    else:
        sys.stdout.write(markdown(comparisons, facts))


def _facts(program: str, rounds: int, workers: int) -> dict[str, Any]:
    """Return what a reader needs to judge the numbers."""
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": psutil.cpu_count() or 0,
        "python": platform.python_version(),
        "h2load": version.strip(),
        "rounds": rounds,
        "workers": workers,
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(path) if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


if __name__ == "__main__":
    run_command(main)
