"""``penstock controller``: runs the controller."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import click

from services.cli.console import Console
from services.cli.settings import Settings, load_settings, under_section
from services.core.errors import ConfigurationError


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--host", help="Address to listen on.")
@click.option("--http-port", type=int, help="REST port; 0 chooses a free one.")
@click.option("--grpc-port", type=int, help="gRPC port; 0 chooses a free one.")
@click.option("--repository", type=click.Path(path_type=Path), help="The model repository that Triton serves.")
@click.option("--triton", metavar="HOST:PORT", help="Triton's HTTP address.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Directory of the SQLite database.")
@click.option("--database-url", help="SQLAlchemy URL, instead of SQLite in the state directory.")
@click.option("--tick-s", type=float, help="Seconds between two looks at the world.")
@click.pass_obj
def controller(console: Console, /, file: Path | None, triton: str | None, **flags: object) -> None:
    """Run the controller until SIGTERM: route table, rollouts, models loaded in Triton."""
    settings = load_settings(os.environ, file, under_section("controller", flags))
    host, port = _address(triton, settings)

    from services.controller.app import ControllerOptions, run_controller
    from services.controller.settings import Pace

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    chosen = settings.controller
    options = ControllerOptions(
        repository=settings.repository,
        triton_host=host,
        triton_port=port,
        database_url=chosen.database_url or f"sqlite:///{settings.state_dir.absolute() / 'penstock.db'}",
        host=chosen.host,
        http_port=chosen.http_port,
        grpc_port=chosen.grpc_port,
        pace=Pace(tick_s=chosen.tick_s),
    )

    def announce(http_port: int, grpc_port: int) -> None:
        shown = f"[{chosen.host}]" if ":" in chosen.host else chosen.host
        console.say(f"controller: REST on http://{shown}:{http_port} (OpenAPI at /docs), gRPC on {shown}:{grpc_port}")
        console.result({"http": f"http://{shown}:{http_port}", "grpc": f"{shown}:{grpc_port}"})

    asyncio.run(run_controller(options, announce))


def _address(triton: str | None, settings: Settings) -> tuple[str, int]:
    """Return host and port of Triton's HTTP endpoint."""
    if triton is None:
        return "127.0.0.1", settings.triton.http_port
    host, colon, port = triton.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigurationError(f"--triton is '{triton}'; expected HOST:PORT, for example 127.0.0.1:18000")
    return host.strip("[]"), int(port)
