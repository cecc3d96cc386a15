"""``penstock gateway``: the data plane alone, as one pod of it runs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import click

from services.cli.console import Console
from services.cli.settings import load_settings, triton_targets, under_section
from services.core.address import Address


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings file; default is penstock.yaml.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the last route table is kept.")
@click.option("--host", help="Address to listen on. Default is 127.0.0.1.")
@click.option("--http-port", type=int, help="REST; 0 chooses a free one. Default is 8000.")
@click.option("--grpc-port", type=int, help="gRPC; 0 chooses a free one. Default is 8001.")
@click.option("--metrics-port", type=int, help="Metrics; 0 chooses a free one. Default is 8002.")
@click.option("--workers", type=int, help="Worker processes. Default is 2.")
@click.option("--triton", metavar="TRITONS", help="HOST:HTTPPORT[/GRPCPORT], comma-separated, or dns:NAME:PORT.")
@click.option("--controller", metavar="ADDRESSES", help="gRPC address of every controller: HOST:PORT,...")
@click.pass_obj
def gateway(console: Console, /, file: Path | None, **flags: object) -> None:
    """Run the gateway: REST and gRPC on ports that all workers share, metrics of all of them on a third.

    Ends with 0 after SIGTERM or Ctrl-C, when every request in flight has its answer. SIGHUP replaces the workers one
    after the other without losing a request.
    """
    from services.gateway import logs
    from services.gateway.fleet import Endpoints, Fleet
    from services.gateway.settings import Behaviour, GatewaySettings

    read = load_settings(os.environ, file, under_section("gateway", flags))
    chosen = read.gateway
    control: tuple[Address, ...] = (Address(read.controller.host, read.controller.grpc_port),)
    if chosen.controller is not None:
        control = tuple(Address.parse(text.strip(), "gateway.controller") for text in chosen.controller.split(","))
    settings = GatewaySettings(
        Behaviour(
            triton=triton_targets(read, chosen.triton, "gateway.triton"),
            controllers=control,
            limits=chosen.limits,
            admission=chosen.admission,
            mirroring=chosen.mirroring,
            replicas=chosen.replicas,
            merging=chosen.merging,
            shared_memory=chosen.shared_memory,
            tracing=chosen.tracing,
            log=chosen.log,
        ),
        state_dir=read.state_dir.absolute(),
        host=chosen.host,
        http_port=chosen.http_port,
        grpc_port=chosen.grpc_port,
        metrics_port=chosen.metrics_port,
        workers=chosen.workers,
    )
    logs.configure(chosen.log, "gateway")

    async def serve() -> None:
        stop, roll = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, roll.set)
        await Fleet(settings, announce).run(stop, roll)

    def announce(endpoints: Endpoints) -> None:
        console.say(f"gateway REST: {endpoints.rest}")
        console.say(f"gateway gRPC: {endpoints.grpc}")
        console.say(f"gateway metrics: {endpoints.metrics}")
        console.result(endpoints._asdict())

    asyncio.run(serve())
