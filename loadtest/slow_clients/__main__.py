"""``python -m loadtest.slow_clients``: 1,000 clients that dribble, how soon they are gone, and what others notice."""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
from pathlib import Path

import click
import uvloop

from loadtest.bench.model import SMALL
from loadtest.bench.system import System
from loadtest.run import run_command
from loadtest.slow_clients.experiment import Found, run
from loadtest.slow_clients.report import as_json, kept, markdown
from services.core.errors import ConfigurationError

EXIT_MISSED = 1
# Beside the sockets of the clients: the ordinary traffic's, files, libraries.
_OTHER_FILES = 200


@click.command(context_settings={"max_content_width": 120})
@click.option(
    "--address", metavar="HOST:PORT", help=f"A running gateway that serves '{SMALL.name}'; else one is started."
)
@click.option("--clients", type=click.IntRange(3), default=1000, show_default=True, help="Slow clients at once.")
@click.option(
    "--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Ordinary requests per second."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Crowds, one after the other.")
@click.option("--alone", type=click.FloatRange(1), default=10.0, show_default=True, help="Seconds without a crowd.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Workers of a started gateway.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), help="Write JSON.")
def main(
    *, address: str | None, clients: int, rate: float, rounds: int, alone: float, workers: int, file: Path | None
) -> None:
    """Measure; exit 1 where a slow client lasts longer than 10 s or the others' p99 rises by more than 10 %."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    _allow_files(clients + _OTHER_FILES)

    def measure(target: str) -> Found:
        return uvloop.run(run(target, clients=clients, rate=rate, rounds=rounds, alone_s=alone, say=_say))

    if address is not None:
        found = measure(address)
    else:
        with tempfile.TemporaryDirectory(prefix="penstock-slow-") as name:
            folder = Path(name)
            SMALL.publish(folder / "repository")
            with System(folder / "repository", folder, workers) as system:
                found = measure(system.gateway.rest)
    sys.stdout.write(markdown(found))
    if file is not None:
        text = json.dumps(as_json(found, {"workers": workers if address is None else None}), indent=2) + "\n"
        if str(file) == "-":
            sys.stdout.write(text)
        else:
            file.write_text(text, encoding="utf-8")
    sys.exit(0 if kept(found) else EXIT_MISSED)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _allow_files(count: int) -> None:
    """Raise the limit on open files, for this process and those that it starts.

    Raises:
        ConfigurationError: The system does not allow so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise ConfigurationError(
                f"{count} open files are needed and {hard} are allowed; run 'ulimit -n {count}' first, or ask for "
                "fewer --clients"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


if __name__ == "__main__":
    run_command(main)
