"""The SLO gate: ``python -m loadtest.run SLO.yaml``, which ``penstock loadtest`` runs as a child process.

Exit codes: 0 every objective met, 1 one missed, 2 void (target unreachable or not ready, generator not able, too few
samples, interrupted) or a wrong file, 3 something is not installed.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from loadtest.dataset import find_dataset, load_dataset
from loadtest.slo_file import SloFile, load_slo, parse_slo
from services.core.errors import ConfigurationError, MissingDependency, PenstockError, Unavailable
from services.core.slo import Outcome, Verdict, judge

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_MISSING = 3
_PIPE_WIDTH = 120


def override(spec: SloFile, origin: str, **changes: Any) -> SloFile:
    """Return the specification with values from the command line in place of the file's; None leaves a value.

    Args:
        spec: The file's content.
        origin: Its name, for error messages.
        **changes: Values by ``section__key``.

    Raises:
        ConfigurationError: A value does not fit.
    """
    document = spec.model_dump(mode="json")
    for name, value in changes.items():
        if value is not None:
            section, _, key = name.rpartition("__")
            (document[section] if section else document)[key] = value
    return parse_slo(document, origin)


def gate(spec: SloFile, repository: Path, console: Console) -> tuple[Verdict, Any]:
    """Run the load and judge it.

    Returns:
        The verdict and the generator's result, which is None where the target could not take any load.

    Raises:
        ConfigurationError: The data are missing or do not fit the model.
    """
    from loadtest.generator import generate  # importing Locust patches the standard library: before any socket is made
    from loadtest.lanes import Run
    from loadtest.payload import fitted
    from loadtest.preflight import inspect

    target, load = spec.target, spec.load
    try:
        interface = inspect(target)
    except Unavailable as error:
        return Verdict(Outcome.VOID, (), (error.message,)), None
    dataset = fitted(load_dataset(spec.data or find_dataset(repository, target.model, target.version)), interface)

    def say_start() -> None:
        console.print(
            f"{load.rate_per_s:g} requests/s ({load.arrivals.value}, {' and '.join(target.protocols)}) to "
            f"{target.model} through {load.connections} connections: {load.warm_up_s:g} s warm-up, then "
            f"{load.duration_s:g} s measured",
            highlight=False,
        )

    run = Run(target, load, interface, dataset, endless=False)
    result = generate(run, load.connections, load.timeout_s, say_start, (signal.SIGINT, signal.SIGTERM))
    verdict = judge(spec.objectives.objectives(), result.record.observed(result.busy_share), spec.generator.limits())
    if result.stopped_by:
        reasons = (f"interrupted by {result.stopped_by} before the end", *verdict.reasons)
        verdict = Verdict(Outcome.VOID, verdict.findings, reasons)
    return verdict, result


@click.command(context_settings={"max_content_width": 120})
@click.argument("slo", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--rate", "rate_per_s", type=float, help="Requests per second, over the file's.")
@click.option("--duration", "duration_s", type=float, help="Measured seconds, over the file's.")
@click.option("--warm-up", "warm_up_s", type=float, help="Warm-up seconds, over the file's.")
@click.option("--rest", help="HOST:PORT of the REST target, over the file's.")
@click.option("--grpc", help="HOST:PORT of the gRPC target, over the file's.")
@click.option("--protocol", type=click.Choice(["rest", "grpc", "both"]), help="What to send with, over the file's.")
@click.option("--data", type=click.Path(), help="npz file with inputs and labels, over the file's.")
@click.option("--repository", type=click.Path(path_type=Path), default="model_repository", show_default=True)
@click.option("--json", "json_only", is_flag=True, help="Print JSON only.")
def main(slo: Path, repository: Path, json_only: bool, **options: Any) -> None:
    """Put open-loop load on a gateway and judge it by SLO, an SLO file."""
    from loadtest.report import EXIT_CODES, as_json, print_table

    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, quiet=json_only)
    sections = {"rest": "target__", "grpc": "target__", "protocol": "target__", "data": ""}
    changes = {f"{sections.get(name, 'load__')}{name}": value for name, value in options.items()}
    spec = override(load_slo(slo), str(slo), **changes)
    verdict, result = gate(spec, repository, console)
    if json_only:
        sys.stdout.write(json.dumps(as_json(spec, verdict, result), indent=2) + "\n")
    else:
        print_table(console, spec, verdict, result)
    sys.exit(EXIT_CODES[verdict.outcome])


def run_command(command: click.Command) -> None:
    """Run a command of this package; every error becomes one clean message and an exit code."""
    try:
        command.main(standalone_mode=False)
    except ModuleNotFoundError as error:
        _leave(_not_installed(error), EXIT_MISSING)
    except MissingDependency as error:
        _leave(error, EXIT_MISSING)
    except (ConfigurationError, click.ClickException) as error:
        _leave(error, EXIT_CONFIGURATION)
    except (KeyboardInterrupt, click.Abort):
        _leave(PenstockError("interrupted"), EXIT_CONFIGURATION)
    except PenstockError as error:
        _leave(error, EXIT_FAILED)


def _not_installed(error: ModuleNotFoundError) -> MissingDependency:
    if error.name not in {"locust", "gevent"}:
        raise error
    return MissingDependency(f"{error.name} is not installed", "pip install 'penstock[loadtest]'")


def _leave(error: Exception, code: int) -> None:
    words = error.format_message() if isinstance(error, click.ClickException) else str(error)
    remedy = {"remedy": error.remedy} if isinstance(error, MissingDependency) else {}
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps({"error": words, **remedy}) + "\n")
    else:
        sys.stderr.write("\n  remedy: ".join([f"penstock: {words}", *remedy.values()]) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    run_command(main)
