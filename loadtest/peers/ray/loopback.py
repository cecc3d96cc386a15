# mypy: ignore-errors
# Runs in an environment of its own, whose packages are not here to be checked.
"""Keeps Ray Serve 2.60 on loopback: it has no setting for three of the addresses on which it listens.

Ray runs ``stay_on_loopback`` in each of its processes before anything else (``worker_process_setup_hook``).
"""

from __future__ import annotations

from typing import Any

from ray.serve._private import haproxy, haproxy_templates, replica


def stay_on_loopback() -> None:
    """Bind the replicas' internal gRPC and HAProxy's statistics and metrics to 127.0.0.1."""
    original = replica.add_port_to_grpc_server

    def on_loopback(server: Any, address: str) -> int:
        return int(original(server, address.replace("[::]", "127.0.0.1")))

    replica.add_port_to_grpc_server = on_loopback
    for module in (haproxy_templates, haproxy):
        for name, text in list(vars(module).items()):
            if isinstance(text, str) and "bind " in text:
                on_all = text.replace("bind *:{{ config.stats", "bind 127.0.0.1:{{ config.stats")
                setattr(module, name, on_all.replace("bind :{{", "bind 127.0.0.1:{{"))
