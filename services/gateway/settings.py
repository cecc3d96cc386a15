"""What a gateway and each of its workers are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from services.core.address import Address
from services.core.replica_address import Targets
from services.gateway.admission import AdmissionSettings
from services.gateway.limits import Limits
from services.gateway.logs import LogSettings
from services.gateway.metrics.slab import SLAB_BYTES
from services.gateway.mirroring.settings import MirrorSettings
from services.gateway.tracing.settings import TracingSettings
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.settings import ReplicaSettings
from services.triton.shared_memory.settings import SharedMemorySettings


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a gateway and its workers do alike.

    Attributes:
        triton: The replicas of Triton.
        controllers: The gRPC address of every controller; one of them leads.
        limits: Bounds on clients.
        admission: How many requests go to Triton at once, and how long others wait.
        mirroring: Bounds on copies of requests.
        replicas: How replicas are chosen, watched and tried again.
        merging: When requests that are ready together go to Triton as one.
        shared_memory: When tensors go to Triton through memory.
        tracing: Where spans of requests go, and of which requests.
        log: What is logged, and in which form.
    """

    triton: Targets
    controllers: tuple[Address, ...]
    limits: Limits = field(default_factory=Limits)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    mirroring: MirrorSettings = field(default_factory=MirrorSettings)
    replicas: ReplicaSettings = field(default_factory=ReplicaSettings)
    merging: MergeSettings = field(default_factory=MergeSettings)
    shared_memory: SharedMemorySettings = field(default_factory=SharedMemorySettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    log: LogSettings = field(default_factory=LogSettings)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What one worker process is told on its command line.

    Attributes:
        instance: Its name, unique among all workers that ever were.
        http_listener: Number of the inherited file descriptor that listens for REST.
        grpc_listener: The same for gRPC.
        slab: File to count in.
        table_cache: File of the last route table.
        answers: File of which version answered, for A/B tests.
        workers: How many workers the gateway has.
        behaviour: What all workers do alike.
    """

    instance: str
    http_listener: int
    grpc_listener: int
    slab: Path
    table_cache: Path
    answers: Path
    workers: int
    behaviour: Behaviour

    def to_argument(self) -> str:
        """Return one command-line argument."""
        return _WORKER.dump_json(self).decode()

    @classmethod
    def from_argument(cls, text: str) -> WorkerSettings:
        """Read what ``to_argument`` wrote."""
        return _WORKER.validate_json(text)


_WORKER = TypeAdapter(WorkerSettings)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a whole gateway is told; port 0 chooses a free one.

    Attributes:
        behaviour: What all workers do alike.
        state_dir: Directory for the saved route table and the workers' counters.
        host: Address to listen on.
        http_port: REST.
        grpc_port: gRPC.
        metrics_port: Metrics of all workers.
        workers: Number of worker processes.
        slab_bytes: Room for the counters of one worker.
    """

    behaviour: Behaviour
    state_dir: Path
    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    workers: int = 2
    slab_bytes: int = SLAB_BYTES
