"""The system under measurement: ``penstock triton``, ``controller`` and ``gateway`` as processes, on free ports."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import orjson
from prometheus_client.parser import text_string_to_metric_families

from loadtest.bench.part import Part, owned
from loadtest.bench.ports import free_ports
from loadtest.connection import HttpConnection
from loadtest.record import Failure
from services.core.errors import PenstockError, UpstreamFailure

START_TIMEOUT_S = 90.0
HTTP_TIMEOUT_S = 5.0
_OK = 200
_POLL_S = 0.1


class System:
    """Tritons, a controller and a gateway that serve one repository. A context: it ends what it started.

    They end with this process as well, however that ends: enter it in the main thread.

    Attributes:
        tritons: The replicas, ``direct`` the first of them; each has the whole repository.
        controller: The controller.
        gateway: The gateway in front of all replicas.
        parts: All of these, and the gateways that were added.
        models: Every model of the repository that has a version.

    Args:
        repository: Models to serve.
        folder: Where state, settings and logs (``<part>.log``) go.
        workers: Worker processes of the gateway.
        tritons: Number of replicas.
        settings: Further settings of all parts, nested as in ``penstock.yaml``.
        variables: Environment of all gateways, over the settings. What of this process's own they and the other parts
            get has no settings.
    """

    def __init__(
        self,
        repository: Path,
        folder: Path,
        workers: int = 2,
        tritons: int = 1,
        settings: Mapping[str, Any] | None = None,
        *,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.models = _models(repository)
        self._repository = repository
        self._folder = folder
        self._settings = dict(settings or {})
        self._variables = dict(variables or {})
        # Four in a row each: the gateway takes a Triton's gRPC port to be the one after HTTP's.
        ports = free_ports(4 * (tritons + 2))
        fours = [ports[first : first + 4] for first in range(0, len(ports), 4)]
        self.tritons = tuple(self._triton(number, fours[number]) for number in range(tritons))
        self.direct = self.tritons[0]
        self.controller = self._controller(fours[-2][:2])
        self.gateway = self._gateway("gateway", workers, self._settings, fours[-1][:3])
        self.parts = [*self.tritons, self.controller, self.gateway]

    def __enter__(self) -> Self:
        try:
            for part in self.parts:
                part.start()
            for part in (*self.tritons, self.gateway):
                self.await_ready(part)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes in reverse order, and kill what does not end in time."""
        for part in reversed(self.parts):
            part.stop()

    def add_gateway(self, name: str, workers: int, settings: Mapping[str, Any] | None = None) -> Part:
        """Start one more gateway in front of the same Tritons, with settings of its own, and wait until it serves."""
        part = self._gateway(name, workers, merged(self._settings, settings or {}), free_ports(3))
        self.add(part)
        self.await_ready(part)
        return part

    def add(self, part: Part) -> None:
        """Start one more process, and end it with the system."""
        self.parts.append(part)
        part.start()

    def await_ready(self, part: Part, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until a Triton or a gateway says that it serves every model.

        Raises:
            PenstockError: A part ended by itself, or it takes too long.
        """
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(HttpConnection(part.rest, HTTP_TIMEOUT_S)) as http:
            for model in self.models:
                while not _is_ready(http, model):
                    for one in self.parts:
                        if (status := one.died()) is not None:
                            raise PenstockError(f"{one.name} ended with {status}: {one.tail()}")
                    if time.monotonic() > deadline:
                        said = "; ".join(f"{one.name}: {one.tail()}" for one in self.parts)
                        raise PenstockError(f"{part.name} does not serve '{model}' after {timeout_s:g} s. {said}")
                    time.sleep(_POLL_S)

    def triton_version(self) -> str:
        """Return the version that Triton reports."""
        return str(orjson.loads(get(self.direct.rest, "/v2"))["version"])

    def triton_successes(self, model: str) -> int:
        """Return how many rows of a model all replicas have answered with success since they started.

        Rows, because the gateway sends requests that are ready together as one.
        """
        total = 0
        for triton in self.tritons:
            document = orjson.loads(get(triton.rest, f"/v2/models/{model}/stats"))
            total += sum(int(one["inference_count"]) for one in document["model_stats"])
        return total

    def gateway_metric(self, name: str, gateway: Part | None = None, **labels: str) -> float:
        """Return the sum of a gateway's samples with this name, such as ``penstock_requests_total``, and labels."""
        text = get((gateway or self.gateway).metrics, "/metrics").decode()
        samples: list[Any] = [one for family in text_string_to_metric_families(text) for one in family.samples]
        return float(sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items()))

    def gateway_successes(self, protocol: str, model: str, gateway: Part | None = None) -> int:
        """Return how many requests a gateway has answered with success over one protocol."""
        return int(
            self.gateway_metric("penstock_requests_total", gateway, model=model, protocol=protocol, outcome="ok")
        )

    def _triton(self, number: int, ports: Sequence[int]) -> Part:
        name = "triton" if number == 0 else f"triton-{number + 1}"
        return _verb(self._folder, name, "triton", ports, self._settings, "--repository", str(self._repository))

    def _controller(self, ports: Sequence[int]) -> Part:
        options = ("--repository", str(self._repository), "--triton", self._addresses())
        return _verb(self._folder, "controller", "controller", ports, self._settings, *options)

    def _gateway(self, name: str, workers: int, settings: Mapping[str, Any], ports: Sequence[int]) -> Part:
        where = ("--triton", self._addresses(), "--controller", self.controller.grpc)
        options = ("--workers", str(workers), *where)
        return _verb(self._folder, name, "gateway", ports, settings, *options, variables=self._variables)

    def _addresses(self) -> str:
        return ",".join(triton.rest for triton in self.tritons)


@contextmanager
def lone_triton(repository: Path, folder: Path, timeout_s: float = START_TIMEOUT_S) -> Iterator[Part]:
    """Run a Triton that has a repository and no model loaded yet, on free ports; it ends with this thread's process.

    Args:
        repository: The models that may be loaded.
        folder: Where state, settings and log go.
        timeout_s: Longest time until it is ready.

    Raises:
        PenstockError: It ended by itself, or it takes too long.
    """
    absolute = str(repository.absolute())
    part = _verb(folder, "triton", "triton", free_ports(4), {}, "--repository", absolute)
    part.start()
    try:
        deadline = time.monotonic() + timeout_s
        with contextlib.closing(HttpConnection(part.rest, HTTP_TIMEOUT_S)) as http:
            while isinstance(outcome := http.exchange("GET", "/v2/health/ready"), Failure) or outcome[0] != _OK:
                if (status := part.died()) is not None or time.monotonic() > deadline:
                    how = "takes too long" if status is None else f"ended with {status}"
                    raise PenstockError(f"Triton {how}: {part.tail()}")
                time.sleep(_POLL_S)
        yield part
    finally:
        part.stop()


@contextmanager
def lone_gateway(
    folder: Path, triton: str, controller: str, model: str, *, workers: int, settings: Mapping[str, Any] | None = None
) -> Iterator[Part]:
    """Run a gateway without a controller of its own, on free ports, until the context ends.

    Args:
        folder: Where state, settings and log go.
        triton: HOST:PORT of a Triton's HTTP side; its gRPC is on the port after it.
        controller: HOST:PORT of whoever hands out route tables.
        model: What it has to serve before it counts as started.
        workers: Worker processes.
        settings: Settings, nested as in ``penstock.yaml``.

    Raises:
        PenstockError: It ended by itself, or it takes too long.
    """
    where = ("--triton", triton, "--controller", controller, "--workers", str(workers))
    part = _verb(folder, "gateway", "gateway", free_ports(3), settings or {}, *where)
    part.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        with contextlib.closing(HttpConnection(part.rest, HTTP_TIMEOUT_S)) as http:
            while not _is_ready(http, model):
                if (status := part.died()) is not None or time.monotonic() > deadline:
                    how = "takes too long" if status is None else f"ended with {status}"
                    raise PenstockError(f"the gateway {how}: {part.tail()}")
                time.sleep(_POLL_S)
        yield part
    finally:
        part.stop()


def get(address: str, path: str) -> bytes:
    """Return the body of a GET.

    Raises:
        UpstreamFailure: There is no answer, or its status is not 200.
    """
    with contextlib.closing(HttpConnection(address, HTTP_TIMEOUT_S)) as http:
        outcome = http.exchange("GET", path)
    if isinstance(outcome, Failure) or outcome[0] != _OK:
        found = outcome.message if isinstance(outcome, Failure) else f"status {outcome[0]}"
        raise UpstreamFailure(f"{address}{path}: {found}")
    return bytes(outcome[1].body)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with those of ``above`` over those of ``below``."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def _verb(
    folder: Path,
    name: str,
    verb: str,
    ports: Sequence[int],
    settings: Mapping[str, Any],
    *options: str,
    variables: Mapping[str, str] | None = None,
) -> Part:
    """Return a ``penstock`` verb as a part that was not started yet, and ends when this process does."""
    given = dict(zip(("http", "grpc", "metrics", "memory"), ports, strict=False))
    local = {kind: f"127.0.0.1:{port}" for kind, port in given.items()}
    command = [
        *(sys.executable, "-m", "services.cli.main", verb, *_config(folder, name, settings)),
        *("--state-dir", str(folder / name), *options),
        *(word for kind, port in given.items() for word in (f"--{kind}-port", str(port))),
    ]
    return Part(
        name,
        owned(command),
        folder / f"{name}.log",
        rest=local["http"],
        grpc=local["grpc"],
        metrics=local.get("metrics", ""),
        environment=variables,
    )


def _config(folder: Path, name: str, settings: Mapping[str, Any]) -> list[str]:
    """Write a part's settings file; always one, because ``penstock.yaml`` of the working directory is not ours."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return ["--config", str(path)]


def _models(repository: Path) -> tuple[str, ...]:
    versions = repository.glob("*/[0-9]*")
    return tuple(sorted({path.parent.name for path in versions if (path.parent / "config.pbtxt").is_file()}))


def _is_ready(http: HttpConnection, model: str) -> bool:
    outcome = http.exchange("GET", f"/v2/models/{model}/ready")
    return not isinstance(outcome, Failure) and outcome[0] == _OK
