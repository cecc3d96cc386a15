"""All peers in turn, one at a time with nothing else: each starts, proves its answers, warms up, is measured, ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.bench.cpu import CpuTimes
from loadtest.bench.h2load import H2Load, Shot
from loadtest.bench.model import SMALL
from loadtest.peers.check import await_answer, check
from loadtest.peers.forms import Form
from loadtest.peers.peer import Peer, Serving, Site
from services.core.errors import PenstockError

WARM_UP_REQUESTS = 200
LEAST_REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """One run.

    Attributes:
        peer: Its name.
        body: ``JSON`` or ``binary``.
        concurrency: Connections, one request at a time on each.
        requests: Requests sent, all of them answered with 200.
        requests_per_s: Throughput.
        p50_us: Median latency, microseconds.
        p99_us: 99th percentile, microseconds.
        cpu_us: CPU of all its server processes per request, the model's included.
        others_share: Share of the machine that other processes took.
    """

    peer: str
    body: str
    concurrency: int
    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    others_share: float


@dataclass(slots=True)
class Results:
    """What a run found.

    Attributes:
        samples: Of the peers that worked to the end.
        versions: Of every peer that could be installed.
        void: Why a peer has no figures, by its name.
    """

    samples: list[Sample] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    void: dict[str, str] = field(default_factory=dict)

    def cross_out(self, peer: Peer, error: Exception) -> None:
        """Void a peer: figures of a server that failed once say nothing."""
        self.void[peer.name] = str(error)
        self.samples = [one for one in self.samples if one.peer != peer.name]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        concurrency: Numbers of connections.
        rounds: How often each peer is started and measured.
        seconds: About how long one run takes.
        warm_up_s: About how long each form and concurrency is warmed up before.
    """

    concurrency: tuple[int, ...]
    rounds: int
    seconds: float
    warm_up_s: float


class Contest:
    """Measures peers.

    Args:
        h2load: The load generator.
        folder: Where everything is written.
        repository: The model in Triton's layout.
        onnx: The model's ONNX file.
        say: Told about progress.
    """

    def __init__(self, h2load: H2Load, folder: Path, repository: Path, onnx: Path, say: Callable[[str], None]) -> None:
        self._h2load = h2load
        self._folder = folder
        self._repository = repository
        self._onnx = onnx
        self._say = say

    def run(self, peers: Sequence[Peer], plan: Plan) -> Results:
        """Install all, then measure them round by round; each round begins with another peer."""
        results = Results()
        for peer in peers:
            with self._voiding(results, peer):
                results.versions[peer.name] = peer.prepare(self._say)
        for number in range(plan.rounds):
            first = number % len(peers)
            for peer in (*peers[first:], *peers[:first]):
                if peer.name not in results.void:
                    self._say(f"round {number + 1}/{plan.rounds} {peer.name}")
                    with self._voiding(results, peer):
                        results.samples += self._round(peer, plan, number)
        order = [peer.name for peer in peers]
        results.samples.sort(key=lambda one: order.index(one.peer))
        return results

    @contextlib.contextmanager
    def _voiding(self, results: Results, peer: Peer) -> Iterator[None]:
        try:
            yield
        except (PenstockError, OSError) as error:
            self._say(f"{peer.name} is void: {error}")
            results.cross_out(peer, error)

    def _round(self, peer: Peer, plan: Plan, number: int) -> list[Sample]:
        # Short, because the sockets of some servers lie in it, and a socket's path may have 107 characters.
        folder = self._folder / f"{number}{peer.name[:3].lower()}"
        folder.mkdir()
        samples: list[Sample] = []
        with peer.serve(Site(folder, self._repository, self._onnx)) as serving:
            await_answer(serving, peer.forms[0])
            for form in peer.forms:
                check(serving, form)
                for concurrency in plan.concurrency:
                    sample = self._measure(peer, serving, form, concurrency, plan)
                    samples.append(sample)
                    self._say(
                        f"  {form.body} x{concurrency}: {sample.requests_per_s:,.0f}/s, "
                        f"p99 {sample.p99_us / 1e3:.2f} ms, {sample.cpu_us:.0f} us CPU"
                    )
                check(serving, form)
        return samples

    def _measure(self, peer: Peer, serving: Serving, form: Form, concurrency: int, plan: Plan) -> Sample:
        headers, body = form.encode(SMALL.row())
        path = self._folder / "body"
        path.write_bytes(body)
        url = f"http://{serving.address}{form.path}"

        def shoot(requests: int) -> Shot:
            return self._h2load.shoot(url, path, headers, requests, concurrency, http1=True)

        rate = shoot(WARM_UP_REQUESTS).requests_per_s
        rate = shoot(max(WARM_UP_REQUESTS, int(rate * plan.warm_up_s))).requests_per_s
        requests = max(LEAST_REQUESTS, int(rate * plan.seconds))
        before = CpuTimes.now(serving.parts)
        shot = shoot(requests)
        spent = CpuTimes.now(serving.parts).since(before)
        return Sample(
            peer=peer.name,
            body=form.body,
            concurrency=concurrency,
            requests=requests,
            requests_per_s=shot.requests_per_s,
            p50_us=shot.quantile_us(0.5),
            p99_us=shot.quantile_us(0.99),
            cpu_us=sum(spent.parts_s.values()) / requests * 1e6,
            others_share=spent.others_share,
        )
