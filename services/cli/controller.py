"""``penstock controller``: runs the controller."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import click

from services.cli.accelerator import accelerator_finder
from services.cli.console import Console
from services.cli.settings import load_settings, triton_targets, under_section
from services.core.address import Address


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--host", help="Address to listen on.")
@click.option("--http-port", type=int, help="REST port; 0 chooses a free one.")
@click.option("--grpc-port", type=int, help="gRPC port; 0 chooses a free one.")
@click.option("--repository", type=click.Path(path_type=Path), help="The model repository that Triton serves.")
@click.option("--triton", metavar="ADDRESSES", help="The Tritons: HOST:HTTPPORT[/GRPCPORT[/MEMORYPORT]],...")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Directory of the SQLite database.")
@click.option("--database-url", help="SQLAlchemy URL, instead of SQLite in the state directory.")
@click.option("--advertise", metavar="HOST", help="Name by which other controllers reach this one.")
@click.option("--tick-s", type=float, help="Seconds between two looks at the world.")
@click.pass_obj
def controller(console: Console, /, file: Path | None, **flags: object) -> None:
    """Run the controller until SIGTERM: route table, rollouts, models loaded in Triton.

    Of several with one PostgreSQL one leads; the others follow and take over within seconds.
    """
    settings = load_settings(os.environ, file, under_section("controller", flags))

    from services.controller.app import ControllerOptions, run_controller
    from services.controller.settings import Pace

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it has a line for every request that is forwarded
    chosen = settings.controller
    options = ControllerOptions(
        repository=settings.repository,
        triton=triton_targets(settings, chosen.triton, "controller.triton"),
        prometheus_url=chosen.prometheus_url,
        webhook_secret=chosen.webhook_secret.get_secret_value(),
        webhook_hosts=tuple(chosen.webhook_hosts),
        database_url=chosen.database_url or f"sqlite:///{settings.state_dir.absolute() / 'penstock.db'}",
        host=chosen.host,
        http_port=chosen.http_port,
        grpc_port=chosen.grpc_port,
        pace=Pace(tick_s=chosen.tick_s),
        public_key=settings.public_key,
        accelerator=accelerator_finder(settings.triton),
        audit_days=chosen.audit_days,
        advertise=chosen.advertise,
    )

    def announce(http_port: int, grpc_port: int) -> None:
        http, grpc = Address(chosen.host, http_port), Address(chosen.host, grpc_port)
        console.say(f"controller: dashboard and REST on http://{http} (OpenAPI at /docs), gRPC on {grpc}")
        console.result({"http": f"http://{http}", "grpc": str(grpc)})

    asyncio.run(run_controller(options, announce))
