"""``penstock up``: Triton, controller and gateway on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path

import click

from services.cli.console import Console
from services.cli.diagnosis import check_repository, require
from services.cli.earlier_run import let_earlier_run_end
from services.cli.settings import TRITON_PORTS, Settings, load_settings, under_section
from services.cli.stack import Endpoints, Stack, choose_endpoints, longest_end_s
from services.triton.layout import RepositoryLayout


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--repository", type=click.Path(path_type=Path), help="Model repository; default is model_repository.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Database, logs and caches; default is .penstock.")
@click.option("--workers", type=int, help="Gateway worker processes; default is 2.")
@click.option("--http-port", type=int, help="Gateway REST port; 0 chooses a free one.")
@click.option("--grpc-port", type=int, help="Gateway gRPC port; 0 chooses a free one.")
@click.option("--metrics-port", type=int, help="Gateway metrics port; 0 chooses a free one.")
@click.option("--free-ports", is_flag=True, help="Choose free ports for everything and print them.")
@click.pass_obj
def up(console: Console, /, file: Path | None, free_ports: bool, **flags: object) -> None:
    """Start Triton, the controller and the gateway on this machine, and keep them running until Ctrl-C.

    Exit codes: 0 ended by SIGTERM or Ctrl-C, 1 a part did not come up, 2 a setting is wrong or a port is taken, 3
    something is missing on this machine.
    """
    named = under_section("gateway", flags)
    settings = load_settings(os.environ, file, {**named, **(ALL_PORTS_FREE if free_ports else {})})
    require(settings)
    RepositoryLayout(settings.repository).models()  # raises where there is no repository, before anything starts
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(console, settings))


ALL_PORTS_FREE: dict[str, object] = {
    f"{section}.{port}": 0
    for section, ports in {
        "gateway": ("http_port", "grpc_port", "metrics_port"),
        "controller": ("http_port", "grpc_port"),
        "triton": TRITON_PORTS,
    }.items()
    for port in ports
}


async def _serve(console: Console, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await let_earlier_run_end(settings.state_dir, longest_end_s(settings), stop, console.say)
    if stop.is_set():
        return
    stack = Stack(settings, choose_endpoints(settings))
    console.say(f"starting; logs are in {settings.state_dir / 'logs'}")
    async with stack.running(stop):
        if not stop.is_set():
            announce(console, stack.endpoints)
            published = check_repository(settings.repository)
            if not published.ok:
                console.say(f"{published.detail}\n  remedy, picked up without a restart: {published.remedy}")
            console.result(asdict(stack.endpoints))
        await stop.wait()
        console.say("stopping: requests in flight are finished first")


def announce(console: Console, endpoints: Endpoints) -> None:
    """Print where everything listens."""
    rows = [
        ("REST", f"http://{endpoints.rest}", "as Triton's port 8000"),
        ("gRPC", endpoints.grpc, "as Triton's port 8001"),
        ("metrics", endpoints.metrics_url, "all workers in one scrape"),
        ("controller", endpoints.controller_url, "dashboard, rollouts and routes; OpenAPI at /docs"),
        ("Triton", f"http://{endpoints.triton_rest}", "loopback only; clients use the gateway"),
    ]
    console.table("", ("what", "where", ""), rows)
