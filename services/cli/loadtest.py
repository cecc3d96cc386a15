"""``penstock loadtest``: checks the SLO file, then runs the load generator as a child process.

Locust patches Python's standard library as it is imported, which nothing else in this process would survive unharmed.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from services.cli.finite_float import FiniteFloat
from services.cli.yamlfile import load_yaml
from services.core.errors import MissingDependency


@click.command()
@click.argument("slo", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--rate", type=FiniteFloat(), help="Requests per second, over the file's.")
@click.option("--duration", type=FiniteFloat(), help="Measured seconds, over the file's.")
@click.option("--warm-up", type=FiniteFloat(), help="Warm-up seconds, over the file's.")
@click.option("--rest", help="HOST:PORT of the REST target, over the file's.")
@click.option("--grpc", help="HOST:PORT of the gRPC target, over the file's.")
@click.option("--protocol", type=click.Choice(["rest", "grpc", "both"]), help="What to send with, over the file's.")
@click.option("--data", type=click.Path(), help="npz file with an array for each input and `labels`, over the file's.")
@click.option("--repository", type=click.Path(), help="Where the published version's own data are looked for.")
@click.pass_context
def loadtest(ctx: click.Context, /, slo: Path, **options: Any) -> int:
    """Put open-loop load on a gateway and judge it by SLO, an SLO file.

    Exit codes: 0 every objective met, 1 one missed, 2 void (target unreachable or not ready, generator not able, too
    few samples, interrupted) or a wrong file, 3 something is not installed.
    """
    if importlib.util.find_spec("locust") is None:
        raise MissingDependency("Locust is not installed", "pip install 'penstock[loadtest]'")
    from loadtest.slo_file import SloFile

    load_yaml(slo, SloFile)  # for its better words: the child reads the file itself
    command = [sys.executable, "-m", "loadtest.run", str(slo)]
    for name, value in options.items():
        if value is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    if ctx.obj.json_only:
        command.append("--json")
    return _run(command)


def _run(command: list[str]) -> int:
    """Run the child to its end and return its exit code; signals are passed on, and it ends cleanly by itself."""
    # In a session of its own, so that a Ctrl-C in the terminal reaches it once: through here.
    child = subprocess.Popen(command, start_new_session=True)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
