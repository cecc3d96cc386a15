"""The controllers under test: processes that are killed, frozen and started again at the same ports."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2

from loadtest.bench.part import Part
from services.core.errors import PenstockError, Unavailable

_START_S = 60.0
_POLL_S = 0.02
_ASK_S = 5.0


class Controllers:
    """Several controllers of one database, or one.

    Args:
        count: How many.
        database_url: SQLAlchemy URL.
        repository: The model repository.
        triton: The address of what loads models.
        folder: Where logs and state go.
    """

    def __init__(self, count: int, database_url: str, repository: Path, triton: str, folder: Path) -> None:
        self.log = folder / "controllers.log"
        ports = _free_ports(2 * count)
        self.parts = [
            Part(
                f"controller-{number + 1}",
                [
                    *(sys.executable, "-m", "services.cli.main", "controller", "--config", str(_settings(folder))),
                    *("--http-port", str(http), "--grpc-port", str(grpc)),
                    *("--repository", str(repository), "--triton", triton, "--state-dir", str(folder)),
                    *("--tick-s", "0.1", "--database-url", database_url),
                ],
                self.log,
                rest=f"127.0.0.1:{http}",
                grpc=f"127.0.0.1:{grpc}",
            )
            for number, (http, grpc) in enumerate(zip(ports[::2], ports[1::2], strict=True))
        ]
        self._client = httpx2.Client(timeout=_ASK_S, trust_env=False)

    def start(self) -> None:
        """Start all of them, and wait until one leads."""
        for part in self.parts:
            part.start()
        self.until(lambda: self.leader() is not None, "a leader")

    def close(self) -> None:
        """End all of them."""
        self._client.close()
        for part in self.parts:
            part.stop()

    def get(self, path: str, part: Part | None = None) -> Any:
        """Return a document of one controller, or of any that answers; None where none does."""
        for each in [part] if part is not None else self.parts:
            try:
                answer = self._client.get(f"http://{each.rest}{path}")
            except httpx2.TransportError:
                continue
            if answer.is_success:
                return answer.json()
        return None

    def post(self, path: str, document: object, part: Part) -> httpx2.Response | None:
        """Send a document to one controller; None where it does not answer."""
        try:
            return self._client.post(f"http://{part.rest}{path}", json=document)
        except httpx2.TransportError:
            return None

    def leader(self) -> Part | None:
        """Return the controller that says that it leads; None while none does.

        Raises:
            PenstockError: Two say so.
        """
        said = [(part, self.get("/v1/leader", part)) for part in self.parts]
        leading = [part for part, document in said if document and document["leading"]]
        if len(leading) > 1:
            again = [part for part in leading if (self.get("/v1/leader", part) or {}).get("leading")]
            if len(again) > 1:
                raise PenstockError(f"{' and '.join(part.name for part in again)} both say that they lead")
        return leading[0] if leading else None

    def until(self, holds: Any, what: str, timeout_s: float = _START_S) -> None:
        """Wait for a condition.

        Raises:
            Unavailable: It does not come; with the end of the log.
        """
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise Unavailable(f"not within {timeout_s:g} s: {what}\n{self.log.read_text()[-3000:]}")
            time.sleep(_POLL_S)

    def answers(self, part: Part) -> bool:
        """Return whether a controller serves."""
        return self.get("/healthz", part) is not None


def publish(repository: Path, models: Sequence[str], versions: int = 2) -> None:
    """Write models with so many versions that nothing ever runs."""
    for model in models:
        for version in map(str, range(1, versions + 1)):
            (repository / model / version).mkdir(parents=True)
            (repository / model / version / "model.py").write_text("# run by nothing\n")
        (repository / model / "config.pbtxt").write_text(f'name: "{model}"\nbackend: "python"\nmax_batch_size: 8\n')


def _settings(folder: Path) -> Path:
    """Return an empty settings file, because ``penstock.yaml`` of the working directory is not ours."""
    path = folder / "settings.yaml"
    path.write_text("{}\n")
    return path


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
