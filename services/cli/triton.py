"""``penstock triton``: one supervised Triton, as one pod of it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import click

from services.cli.accelerator import accelerator_finder
from services.cli.console import Console
from services.cli.settings import load_settings, under_section
from services.process.ports import listen_shared
from services.triton.layout import RepositoryLayout
from services.triton.locate import locate
from services.triton.memory.reporter import MemoryReporter
from services.triton.supervisor import TritonPorts, TritonSupervisor
from services.triton.trust import Trust


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--repository", type=click.Path(path_type=Path), help="Model repository; default is model_repository.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the log and the loaded versions are kept.")
@click.option("--host", help="Address to listen on; Triton protects nothing. Default is 127.0.0.1.")
@click.option("--http-port", type=int, help="HTTP; 0 chooses a free one. Default is 18000.")
@click.option("--grpc-port", type=int, help="gRPC; 0 chooses a free one. Default is 18001.")
@click.option("--metrics-port", type=int, help="Metrics; 0 chooses a free one. Default is 18002.")
@click.option("--memory-port", type=int, help="How much memory it has; 0 chooses a free one. Default is 18003.")
@click.option("--executable", type=click.Path(path_type=Path), help="The tritonserver to run; else one is looked for.")
@click.option("--exit-timeout-s", type=int, help="Longest time for requests in flight after SIGTERM. Default is 10.")
@click.pass_obj
def triton(console: Console, /, file: Path | None, **flags: object) -> None:
    """Run a Triton with explicit model control, start it again when it dies, and give it its models back.

    Models are loaded through its API, by the controller; what was loaded at the end of the last run is loaded again.
    Ends with 0 after SIGTERM or Ctrl-C, when every request in flight has its answer.
    """
    settings = load_settings(os.environ, file, under_section("triton", flags))
    layout = RepositoryLayout(settings.repository)
    layout.models()
    chosen = settings.triton
    supervisor = TritonSupervisor(
        locate(chosen.executable),
        layout,
        settings.state_dir,
        ports=TritonPorts(chosen.http_port, chosen.grpc_port, chosen.metrics_port),
        host=chosen.host,
        exit_timeout_s=chosen.exit_timeout_s,
        trace_endpoint=settings.gateway.tracing.endpoint,
        trust=Trust(layout, settings.public_key, accelerator_finder(settings.triton)),
    )
    _log_to_stderr()
    [listener] = listen_shared(chosen.host, chosen.memory_port, 1, "triton.memory_port")
    with closing(listener):
        asyncio.run(_serve(supervisor, listener, console))


async def _serve(supervisor: TritonSupervisor, listener: socket.socket, console: Console) -> None:
    stopped = asyncio.create_task(_stop_signal().wait())
    running = asyncio.create_task(_run(supervisor, listener, console))
    try:
        await asyncio.wait({stopped, running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        running.cancel()
        await asyncio.wait({running})
    if not running.cancelled():
        await running


async def _run(supervisor: TritonSupervisor, listener: socket.socket, console: Console) -> None:
    """Run until cancelled, or until the supervision fails."""
    memory = MemoryReporter(
        listener,
        supervisor.repository,
        lambda: supervisor.pid,
        lambda: (supervisor.host, supervisor.ports.metrics),
    )
    async with supervisor, memory:
        ports = supervisor.ports
        console.say(
            f"Triton on {supervisor.host}: HTTP {ports.http}, gRPC {ports.grpc}, metrics {ports.metrics}, memory "
            f"{memory.port} (process {supervisor.pid}, log {supervisor.log.path})"
        )
        console.result(
            {
                "host": supervisor.host,
                "http_port": ports.http,
                "grpc_port": ports.grpc,
                "metrics_port": ports.metrics,
                "memory_port": memory.port,
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
