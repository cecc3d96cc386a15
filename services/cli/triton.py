"""``penstock triton``: one supervised Triton, as one pod of it runs."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import click

from services.cli.console import Console
from services.triton.layout import RepositoryLayout
from services.triton.locate import locate
from services.triton.supervisor import TritonPorts, TritonSupervisor

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Model repository.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; Triton protects nothing.")
@click.option("--http-port", type=_PORT, default=18000, show_default=True, help="HTTP; 0 chooses a free one.")
@click.option("--grpc-port", type=_PORT, default=18001, show_default=True, help="gRPC; 0 chooses a free one.")
@click.option("--metrics-port", type=_PORT, default=18002, show_default=True, help="Metrics; 0 chooses a free one.")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".penstock"),
    show_default=True,
    help="Where the log and the loaded versions are kept.",
)
@click.option(
    "--executable",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The tritonserver to run; without it NGC's, then the one of the embedded extra.",
)
@click.option(
    "--exit-timeout-s",
    type=click.IntRange(0, 3600),
    default=10,
    show_default=True,
    help="Longest time for requests in flight after SIGTERM.",
)
@click.pass_obj
def triton(
    console: Console,
    *,
    repository: Path,
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    state_dir: Path,
    executable: Path | None,
    exit_timeout_s: int,
) -> None:
    """Run a Triton with explicit model control, start it again when it dies, and give it its models back.

    Models are loaded through its API, by the controller; what was loaded at the end of the last run is loaded again.
    Ends with 0 after SIGTERM or Ctrl-C, when every request in flight has its answer.
    """
    layout = RepositoryLayout(repository)
    layout.models()
    supervisor = TritonSupervisor(
        locate(executable),
        layout,
        state_dir,
        ports=TritonPorts(http_port, grpc_port, metrics_port),
        host=host,
        exit_timeout_s=exit_timeout_s,
    )
    _log_to_stderr()
    asyncio.run(_serve(supervisor, console))


async def _serve(supervisor: TritonSupervisor, console: Console) -> None:
    stopped = asyncio.create_task(_stop_signal().wait())
    running = asyncio.create_task(_run(supervisor, console))
    try:
        await asyncio.wait({stopped, running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        running.cancel()
        await asyncio.wait({running})
    if not running.cancelled():
        await running


async def _run(supervisor: TritonSupervisor, console: Console) -> None:
    """Run until cancelled, or until the supervision fails."""
    async with supervisor:
        ports = supervisor.ports
        console.say(
            f"Triton on {supervisor.host}: HTTP {ports.http}, gRPC {ports.grpc}, metrics {ports.metrics} "
            f"(process {supervisor.pid}, log {supervisor.log.path})"
        )
        console.result(
            {
                "host": supervisor.host,
                "http_port": ports.http,
                "grpc_port": ports.grpc,
                "metrics_port": ports.metrics,
                "pid": supervisor.pid,
                "log": supervisor.log.path,
            }
        )
        await supervisor.wait()


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
