"""One measurement, and the order of many: direct and gateways take turns, so that a noisy minute hurts all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.cpu import CpuTimes
from loadtest.bench.h2load import H2Load, Shot
from loadtest.bench.model import MODELS, BenchModel
from loadtest.bench.part import Part
from loadtest.bench.system import System
from loadtest.connection import GrpcConnection, RestConnection
from loadtest.payload import INFERENCE_HEADER, grpc_payloads, rest_payloads
from loadtest.record import Failure
from services.core.errors import PenstockError

PROTOCOLS = ("rest", "grpc")
DIRECT = "direct"
GATEWAY = "gateway"
WARM_UP_REQUESTS = 400
LEAST_REQUESTS = 200
TIMEOUT_S = 10.0
# Triton sends an answer first and counts it then.
LATE_COUNTS_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """What is compared: requests for one model over one protocol at one number of connections."""

    protocol: str
    concurrency: int
    model: str = MODELS[0].name


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one side of a case.

    Attributes:
        side: ``direct``, ``gateway`` or the name of a further gateway.
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
    """What h2load sends for one protocol and model."""

    body: Path
    headers: dict[str, str]
    path: str
    http1: bool

    @classmethod
    def rest(cls, model: BenchModel, folder: Path) -> Wire:
        """Return a REST request with a binary tensor, its body written to a file."""
        payload = rest_payloads(model.interface, model.sample(), 1)[0]
        body = folder / f"{model.name}.rest"
        body.write_bytes(payload.body)
        headers = {"Content-Type": "application/octet-stream", INFERENCE_HEADER: str(payload.json_size)}
        return cls(body, headers, f"{model.interface.path}/infer", http1=True)

    @classmethod
    def grpc(cls, model: BenchModel, folder: Path) -> Wire:
        """Return a ModelInfer call with raw contents, its frame written to a file."""
        message = grpc_payloads(model.interface, model.sample(), 1)[0].body
        body = folder / f"{model.name}.grpc"
        # A gRPC frame: one byte for "not compressed", the length as a big-endian uint32, the message.
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        headers = {"content-type": "application/grpc", "te": "trailers"}
        return cls(body, headers, "/inference.GRPCInferenceService/ModelInfer", http1=False)


class Measurement:
    """Runs cases against a system.

    Args:
        system: A system that is ready.
        h2load: The load generator.
        folder: Where request bodies are written.
        gateways: Gateways of the system by the name of their side; by default the one that it has.
    """

    def __init__(
        self, system: System, h2load: H2Load, folder: Path, gateways: Mapping[str, Part] | None = None
    ) -> None:
        self._system = system
        self._h2load = h2load
        self._sides = {DIRECT: system.direct, **(gateways or {GATEWAY: system.gateway})}
        self._wires: dict[tuple[str, str], Wire] = {}
        for model in MODELS:
            self._wires["rest", model.name] = Wire.rest(model, folder)
            self._wires["grpc", model.name] = Wire.grpc(model, folder)

    def verify(self) -> None:
        """Check that every side gives right answers over both protocols.

        Raises:
            PenstockError: One does not.
        """
        for name, side in self._sides.items():
            for model in MODELS:
                _verify(name, side, model)

    def run(self, cases: Sequence[Case], rounds: int, seconds: float, say: Callable[[str], None]) -> list[Sample]:
        """Measure every case ``rounds`` times, all sides in turn.

        Args:
            cases: What to compare.
            rounds: Runs of each side of each case.
            seconds: About how long one run takes; the number of requests is fixed by a first run.
            say: Told about progress.
        """
        counts = {(case, side): self._calibrate(case, side, seconds) for case in cases for side in self._sides}
        samples: list[Sample] = []
        for number in range(rounds):
            for case in cases:
                turn = [self._measure(case, side, counts[case, side]) for side in self._sides]
                samples += turn
                rates = ", ".join(f"{one.side} {one.requests_per_s:,.0f}/s" for one in turn)
                say(f"round {number + 1}/{rounds} {case.model} {case.protocol} x{case.concurrency}: {rates}")
        return samples

    def shoot(self, case: Case, side: str, requests: int) -> Shot:
        """Send requests to one side, and make sure that the servers counted each as a success.

        Raises:
            PenstockError: They did not.
        """
        part, wire = self._sides[side], self._wires[case.protocol, case.model]
        url = f"http://{part.rest if case.protocol == 'rest' else part.grpc}{wire.path}"
        gateway = None if side == DIRECT else part
        before = self._successes(case, gateway)
        shot = self._h2load.shoot(url, wire.body, wire.headers, requests, case.concurrency, http1=wire.http1)
        expected = {who: count + requests for who, count in before.items()}
        deadline = time.monotonic() + LATE_COUNTS_S
        while (after := self._successes(case, gateway)) != expected and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for who, count in after.items():
            if count != expected[who]:
                raise PenstockError(f"{url}: {requests} requests sent, {who} counted {count - before[who]} successes")
        return shot

    def _successes(self, case: Case, gateway: Part | None) -> dict[str, int]:
        counted = {"Triton": self._system.triton_successes(case.model)}
        if gateway is not None:
            counted["gateway"] = self._system.gateway_successes(case.protocol, case.model, gateway)
        return counted

    def _calibrate(self, case: Case, side: str, seconds: float) -> int:
        """Warm up, and return how many requests take about so many seconds."""
        self.shoot(case, side, WARM_UP_REQUESTS)
        rate = self.shoot(case, side, WARM_UP_REQUESTS).requests_per_s
        return max(LEAST_REQUESTS, case.concurrency, int(rate * seconds))

    def _measure(self, case: Case, side: str, requests: int) -> Sample:
        system = self._system
        before = CpuTimes.now(system.parts)
        shot = self.shoot(case, side, requests)
        spent = CpuTimes.now(system.parts).since(before)
        gateway_s = 0.0 if side == DIRECT else spent.parts_s[self._sides[side].name]
        return Sample(
            case,
            side,
            requests,
            shot.requests_per_s,
            shot.quantile_us(0.5),
            shot.quantile_us(0.99),
            gateway_s / requests * 1e6,
            sum(spent.parts_s[triton.name] for triton in system.tritons) / requests * 1e6,
            shot.cpu_s / requests * 1e6,
            spent.others_share,
        )


def _verify(name: str, side: Part, model: BenchModel) -> None:
    for protocol in PROTOCOLS:
        if protocol == "rest":
            payload = rest_payloads(model.interface, model.sample(), 1)[0]
            connection: RestConnection | GrpcConnection = RestConnection(side.rest, model.interface, TIMEOUT_S)
        else:
            payload = grpc_payloads(model.interface, model.sample(), 1)[0]
            connection = GrpcConnection(side.grpc, model.interface, TIMEOUT_S)
        outcome = connection.send(payload)
        connection.close()
        if isinstance(outcome, Failure) or outcome.right != outcome.items:
            raise PenstockError(f"{name} over {protocol} gives no right answer for {model.name}: {outcome}")
