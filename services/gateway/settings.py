"""What a gateway and each of its workers are told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from services.core.address import Address
from services.gateway.limits import Limits


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What one worker process is told on its command line.

    Attributes:
        instance: Its name, unique among all workers that ever were.
        http_listener: Number of the inherited file descriptor that listens for REST.
        grpc_listener: The same for gRPC.
        triton: Triton's HTTP address.
        controller: The controller's gRPC address.
        slab: File to count in.
        table_cache: File of the last route table.
        limits: Bounds.
    """

    instance: str
    http_listener: int
    grpc_listener: int
    triton: Address
    controller: Address
    slab: Path
    table_cache: Path
    limits: Limits

    def to_argument(self) -> str:
        """Return one command-line argument."""
        return orjson.dumps(asdict(self), default=str).decode()

    @classmethod
    def from_argument(cls, text: str) -> WorkerSettings:
        """Read what ``to_argument`` wrote."""
        fields = orjson.loads(text)
        fields["triton"] = Address(**fields["triton"])
        fields["controller"] = Address(**fields["controller"])
        fields["slab"] = Path(fields["slab"])
        fields["table_cache"] = Path(fields["table_cache"])
        fields["limits"] = Limits(**fields["limits"])
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a whole gateway is told; port 0 chooses a free one.

    Attributes:
        host: Address to listen on.
        http_port: REST.
        grpc_port: gRPC.
        metrics_port: Metrics of all workers.
        workers: Number of worker processes.
        triton: Triton's HTTP address.
        controller: The controller's gRPC address.
        state_dir: Directory for the saved route table and the workers' counters.
        limits: Bounds of each worker.
    """

    triton: Address
    controller: Address
    state_dir: Path
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    workers: int = 2
    limits: Limits = field(default_factory=Limits)
