"""One measurement, and the order of many: direct and gateway take turns, so that a noisy minute hurts both alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

from loadtest.bench.h2load import H2Load
from loadtest.bench.model import INTERFACE, NAME, sample
from loadtest.bench.part import Part
from loadtest.bench.system import System
from loadtest.connection import GrpcConnection, RestConnection
from loadtest.payload import INFERENCE_HEADER, grpc_payloads, rest_payloads
from loadtest.record import Failure
from services.core.errors import PenstockError

PROTOCOLS = ("rest", "grpc")
WARM_UP_REQUESTS = 400
LEAST_REQUESTS = 200
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: one protocol at one number of connections."""

    protocol: str
    concurrency: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one side of a case.

    Attributes:
        side: ``direct`` or ``gateway``.
        requests: Requests sent, all of them counted as successes by the servers.
        requests_per_s: Throughput.
        p50_us: Median latency in microseconds.
        p99_us: 99th percentile in microseconds.
        gateway_cpu_us: CPU of all gateway processes per request.
        triton_cpu_us: CPU of Triton's processes per request.
        generator_cpu_us: CPU of h2load per request.
        others_share: Share of the machine's CPU time that went to processes that have no part in this.
    """

    case: Case
    side: str
    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    gateway_cpu_us: float
    triton_cpu_us: float
    generator_cpu_us: float
    others_share: float


@dataclass(frozen=True, slots=True)
class Wire:
    """What h2load sends for one protocol."""

    body: Path
    headers: dict[str, str]
    path: str
    http1: bool


class Measurement:
    """Runs cases against a system.

    Args:
        system: A system that is ready.
        h2load: The load generator.
        folder: Where request bodies are written.
    """

    def __init__(self, system: System, h2load: H2Load, folder: Path) -> None:
        self._system = system
        self._h2load = h2load
        self._wires = {"rest": _rest_wire(folder), "grpc": _grpc_wire(folder)}

    def verify(self) -> None:
        """Check that both sides give right answers over both protocols.

        Raises:
            PenstockError: One does not.
        """
        for side in (self._system.direct, self._system.gateway):
            for protocol in PROTOCOLS:
                if protocol == "rest":
                    payload = rest_payloads(INTERFACE, sample(), 1)[0]
                    connection: RestConnection | GrpcConnection = RestConnection(side.rest, INTERFACE, TIMEOUT_S)
                else:
                    payload = grpc_payloads(INTERFACE, sample(), 1)[0]
                    connection = GrpcConnection(side.grpc, INTERFACE, TIMEOUT_S)
                outcome = connection.send(payload)
                connection.close()
                if isinstance(outcome, Failure) or outcome.right != outcome.items:
                    raise PenstockError(f"{side.name} over {protocol} gives no right answer: {outcome}")

    def run(self, cases: Sequence[Case], rounds: int, seconds: float, say: Callable[[str], None]) -> list[Sample]:
        """Measure every case ``rounds`` times, direct and gateway in turn.

        Args:
            cases: What to compare.
            rounds: Pairs of runs for each case.
            seconds: About how long one run takes; the number of requests is fixed by a first run.
            say: Told about progress.
        """
        sides = (self._system.direct, self._system.gateway)
        counts = {(case, side.name): self._calibrate(case, side, seconds) for case in cases for side in sides}
        samples: list[Sample] = []
        for number in range(rounds):
            for case in cases:
                pair = [self._measure(case, side, counts[case, side.name]) for side in sides]
                samples += pair
                say(
                    f"round {number + 1}/{rounds} {case.protocol} x{case.concurrency}: "
                    f"direct {pair[0].requests_per_s:,.0f}/s, gateway {pair[1].requests_per_s:,.0f}/s"
                )
        return samples

    def _calibrate(self, case: Case, side: Part, seconds: float) -> int:
        """Warm up, and return how many requests take about so many seconds."""
        self._measure(case, side, WARM_UP_REQUESTS)
        rate = self._measure(case, side, WARM_UP_REQUESTS).requests_per_s
        return max(LEAST_REQUESTS, case.concurrency, int(rate * seconds))

    def _measure(self, case: Case, side: Part, requests: int) -> Sample:
        system, wire = self._system, self._wires[case.protocol]
        is_gateway = side is system.gateway
        url = f"http://{side.rest if case.protocol == 'rest' else side.grpc}{wire.path}"
        triton = system.triton_successes(NAME)
        gateway = system.gateway_successes(case.protocol, NAME)
        before = _CpuTimes.now(system)
        shot = self._h2load.shoot(url, wire.body, wire.headers, requests, case.concurrency, http1=wire.http1)
        spent = _CpuTimes.now(system).since(before)
        counted = {"Triton": system.triton_successes(NAME) - triton}
        if is_gateway:
            counted["gateway"] = system.gateway_successes(case.protocol, NAME) - gateway
        for who, count in counted.items():
            if count != requests:
                raise PenstockError(f"{url}: {requests} requests sent, {who} counted {count} successes")
        return Sample(
            case,
            "gateway" if is_gateway else "direct",
            requests,
            shot.requests_per_s,
            shot.quantile_us(0.5),
            shot.quantile_us(0.99),
            spent.gateway_s / requests * 1e6 if is_gateway else 0.0,
            spent.triton_s / requests * 1e6,
            shot.cpu_s / requests * 1e6,
            max(0.0, 1.0 - (spent.ours_s + spent.idle_s) / spent.machine_s),
        )


@dataclass(frozen=True, slots=True)
class _CpuTimes:
    """CPU seconds since some start: of the parts, of all that belongs to the benchmark, and of the machine."""

    gateway_s: float
    triton_s: float
    ours_s: float
    idle_s: float
    machine_s: float

    @classmethod
    def now(cls, system: System) -> _CpuTimes:
        # The system's processes are children that still run, so they are not in the children's times.
        own = psutil.Process().cpu_times()
        ours = system.cpu_s() + own.user + own.system + own.children_user + own.children_system
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return cls(system.gateway.cpu_s(), system.direct.cpu_s(), ours, idle, sum(machine))

    def since(self, earlier: _CpuTimes) -> _CpuTimes:
        return _CpuTimes(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))


def _rest_wire(folder: Path) -> Wire:
    payload = rest_payloads(INTERFACE, sample(), 1)[0]
    body = folder / "rest.bin"
    body.write_bytes(payload.body)
    headers = {"Content-Type": "application/octet-stream", INFERENCE_HEADER: str(payload.json_size)}
    return Wire(body, headers, f"{INTERFACE.path}/infer", http1=True)


def _grpc_wire(folder: Path) -> Wire:
    message = grpc_payloads(INTERFACE, sample(), 1)[0].body
    body = folder / "grpc.bin"
    # A gRPC frame: one byte for "not compressed", the length as a big-endian uint32, the message.
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    headers = {"content-type": "application/grpc", "te": "trailers"}
    return Wire(body, headers, "/inference.GRPCInferenceService/ModelInfer", http1=False)
