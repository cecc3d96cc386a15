"""``penstock gateway``: the data plane alone, as one pod of it runs."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from services.cli.console import Console

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--http-port", type=_PORT, default=8000, show_default=True, help="REST; 0 chooses a free one.")
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True, help="gRPC; 0 chooses a free one.")
@click.option("--metrics-port", type=_PORT, default=8002, show_default=True, help="Metrics; 0 chooses a free one.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True, help="Worker processes.")
@click.option("--triton", default="127.0.0.1:18000", show_default=True, metavar="HOST:PORT", help="Triton's HTTP port.")
@click.option(
    "--controller", default="127.0.0.1:9001", show_default=True, metavar="HOST:PORT", help="The controller's gRPC port."
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".penstock"),
    show_default=True,
    help="Where the last route table is kept.",
)
@click.option(
    "--max-body-bytes",
    type=click.IntRange(min=1024),
    default=64 * 1024 * 1024,
    show_default=True,
    help="Largest request.",
)
@click.option(
    "--max-in-flight",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Most requests of one worker at once; one more is refused.",
)
@click.option(
    "--request-timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    help="Longest time for one request.",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    help="Longest time for requests in flight after SIGTERM.",
)
@click.pass_obj
def gateway(
    console: Console,
    *,
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    workers: int,
    triton: str,
    controller: str,
    state_dir: Path,
    max_body_bytes: int,
    max_in_flight: int,
    request_timeout_s: float,
    drain_s: float,
) -> None:
    """Run the gateway: REST and gRPC on ports that all workers share, metrics of all of them on a third.

    Ends with 0 after SIGTERM or Ctrl-C, when every request in flight has its answer.
    """
    from services.gateway import logs
    from services.gateway.fleet import Endpoints, Fleet
    from services.gateway.settings import Address, GatewaySettings, Limits

    settings = GatewaySettings(
        triton=Address.parse(triton, "--triton"),
        controller=Address.parse(controller, "--controller"),
        state_dir=state_dir.absolute(),
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        workers=workers,
        limits=Limits(max_body_bytes, max_in_flight, request_timeout_s, drain_s),
    )
    logs.configure()

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await Fleet(settings, announce).run(stop)

    def announce(endpoints: Endpoints) -> None:
        console.say(f"gateway REST: {endpoints.rest}")
        console.say(f"gateway gRPC: {endpoints.grpc}")
        console.say(f"gateway metrics: {endpoints.metrics}")
        console.result(endpoints._asdict())

    asyncio.run(serve())
