"""Rounds without and with a mirror, the same arrivals in both, in turns: what differs is the mirror and the noise."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from loadtest.bench.part import Part
from loadtest.bench.system import lone_gateway, lone_triton
from loadtest.mirror.disturbance import Disturbance
from loadtest.mirror.model import NAME, VERSIONS, MirroredModel
from loadtest.mirror.route_server import RouteServer
from loadtest.overload.arithmetic import OK, quantile
from loadtest.raw_generator import Generator, Shot
from loadtest.schedule import Process, offsets
from loadtest.tune.live_triton import LiveTriton
from services.core.errors import PenstockError
from services.pb.penstock.v1 import routes_pb2

_PATIENCE_S = 5.0
_WARM_UP_S = 3.0
_LOAD_S = 60.0
_RESAMPLES = 1000
_TRIES = 3

MOST_OTHERS = 0.15
"""Of the machine's CPU: what other processes may take in a round that counts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        rate: Requests per second, a Poisson process.
        seconds: Length of a round.
        pairs: Undisturbed rounds of each kind.
        percent: Share of the requests that is mirrored in the rounds with a mirror.
        floor_percent: Share of the copies that go to the version that answered.
        workers: Worker processes of the gateway.
        seed: Of the arrivals.
    """

    rate: float
    seconds: float
    pairs: int
    percent: int
    floor_percent: int
    workers: int
    seed: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
        mirrored: Whether there was a mirror.
        latency_s: From the time each request was due to its answer, ascending.
        failed: Requests without a good answer.
        others_share: As ``Disturbance.share``.
    """

    mirrored: bool
    latency_s: Sequence[float]
    failed: int
    others_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Copies:
    """What the copies of all rounds showed, of one pair of versions.

    Attributes:
        answered: The version that answered.
        mirrored: The version that got the copies.
        pairs: Pairs that were compared.
        differing: Of these, those that differ.
        failed: Copies without an answer.
        dropped: Requests whose copy was not sent.
    """

    answered: int
    mirrored: int
    pairs: int
    differing: int
    failed: int
    dropped: int


def run(model: MirroredModel, plan: Plan, folder: Path, say: Callable[[str], None]) -> tuple[list[Round], list[Copies]]:
    """Run rounds until there are as many as planned that others disturbed little, or three times as many in all.

    Raises:
        PenstockError: A process does not start.
    """
    model.publish(folder / "repository")
    say("starting Triton and a gateway")
    with _stage(plan, folder) as (parts, gateway, routes):
        messages = model.requests(gateway.rest)
        generator = Generator(gateway.rest, messages, _PATIENCE_S)
        for mirrored in (False, True):
            routes.publish(_route(plan, mirrored=mirrored), plan.workers)
            uvloop.run(generator.open_loop(list(_due(plan, plan.seed, _WARM_UP_S))))
        before = _settled(plan, routes)
        rounds: list[Round] = []
        for number in range(_TRIES * plan.pairs):
            # Which kind comes first changes each time, so that a drift of the machine favours neither.
            for mirrored in (False, True) if number % 2 == 0 else (True, False):
                routes.publish(_route(plan, mirrored=mirrored), plan.workers)
                others = Disturbance(parts)
                shots = uvloop.run(generator.open_loop(list(_due(plan, plan.seed + 1 + number, plan.seconds))))
                rounds.append(_round(shots, mirrored=mirrored, others_share=others.share()))
                say(_said(number, rounds[-1]))
            if len(undisturbed(rounds)) >= 2 * plan.pairs:
                break
        return rounds, _less(_settled(plan, routes), before)


def undisturbed(rounds: Sequence[Round]) -> list[Round]:
    """Return the pairs of rounds in neither of which others took more than ``MOST_OTHERS`` of the machine."""
    pairs = (rounds[at : at + 2] for at in range(0, len(rounds), 2))
    return [one for pair in pairs if all(one.others_share <= MOST_OTHERS for one in pair) for one in pair]


def pooled(rounds: Sequence[Round], *, mirrored: bool) -> list[float]:
    """Return the latencies of all rounds of a kind, ascending."""
    return sorted(itertools.chain.from_iterable(one.latency_s for one in rounds if one.mirrored is mirrored))


def typical_s(rounds: Sequence[Round], q: float, *, mirrored: bool) -> float:
    """Return the median of the rounds' quantiles: a pause of the machine spoils the rounds that it falls into."""
    return median([quantile(one.latency_s, q) for one in rounds if one.mirrored is mirrored])


def ratio(rounds: Sequence[Round], q: float) -> float:
    """Return the typical quantile with a mirror as a multiple of the one without."""
    return typical_s(rounds, q, mirrored=True) / typical_s(rounds, q, mirrored=False)


def interval(rounds: Sequence[Round], q: float, seed: int = 1) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of ``ratio``; pairs of rounds with the same arrivals are drawn again."""
    chance = random.Random(seed)  # noqa: S311 - a reproducible interval, not a secret
    pairs = [rounds[at : at + 2] for at in range(0, len(rounds), 2)]
    drawn = (itertools.chain.from_iterable(chance.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    found = sorted(ratio(list(some), q) for some in drawn)
    return found[int(0.025 * _RESAMPLES)], found[int(0.975 * _RESAMPLES) - 1]


@contextmanager
def _stage(plan: Plan, folder: Path) -> Iterator[tuple[list[Part], Part, RouteServer]]:
    with (
        lone_triton(folder / "repository", folder) as triton,
        RouteServer(_route(plan, mirrored=False)) as routes,
    ):
        with LiveTriton(triton.grpc, _LOAD_S) as control:
            control.load(NAME, None)
        with lone_gateway(folder, triton.rest, routes.address, NAME, workers=plan.workers) as gateway:
            yield [triton, gateway], gateway, routes


def _route(plan: Plan, *, mirrored: bool) -> routes_pb2.Route:
    route = routes_pb2.Route(model=NAME, stable=VERSIONS[0], versions=VERSIONS)
    if mirrored:
        route.mirror.CopyFrom(
            routes_pb2.Mirror(
                version=VERSIONS[1],
                percent=plan.percent,
                floor_percent=plan.floor_percent,
                relative_tolerance=1e-3,
                absolute_tolerance=1e-4,
            )
        )
    return route


def _due(plan: Plan, seed: int, seconds: float) -> Iterator[float]:
    return offsets(Process.POISSON, plan.rate, seed, seconds)


def _round(shots: Sequence[Shot], *, mirrored: bool, others_share: float) -> Round:
    latency_s = sorted(shot.done - shot.due for shot in shots if shot.status == OK)
    if not latency_s:
        raise PenstockError("no request of a round was answered; see the logs")
    return Round(mirrored, latency_s, sum(shot.status != OK for shot in shots), others_share)


def _said(number: int, one: Round) -> str:
    kind = "mirror" if one.mirrored else "no mirror"
    times = ", ".join(f"p{q * 100:g} {quantile(one.latency_s, q) * 1e3:.2f} ms" for q in (0.5, 0.99))
    answers = f"{len(one.latency_s)} answers, {one.failed} failed"
    return f"round {number + 1}, {kind}: {answers}, {times}; others {one.others_share:.0%}"


def _settled(plan: Plan, routes: RouteServer) -> dict[tuple[int, int], Copies]:
    """Turn the mirror off, and return all counts when the copies have ended: twice, so that a report lies between."""
    for _ in range(2):
        routes.publish(_route(plan, mirrored=False), plan.workers)
    return _copies(routes)


def _copies(routes: RouteServer) -> dict[tuple[int, int], Copies]:
    total: dict[tuple[int, int], Copies] = {}
    for entry in routes.comparisons():
        key = (entry.answered, entry.mirrored)
        one = total.get(key, Copies(*key, 0, 0, 0, 0))
        total[key] = Copies(
            *key,
            one.pairs + entry.all.pairs,
            one.differing + entry.all.differing,
            one.failed + entry.failed,
            one.dropped + entry.dropped,
        )
    return total


def _less(now: dict[tuple[int, int], Copies], before: dict[tuple[int, int], Copies]) -> list[Copies]:
    return [
        Copies(
            *key,
            one.pairs - (old := before.get(key, Copies(*key, 0, 0, 0, 0))).pairs,
            one.differing - old.differing,
            one.failed - old.failed,
            one.dropped - old.dropped,
        )
        for key, one in sorted(now.items())
    ]
