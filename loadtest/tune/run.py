"""From what a person asks to a tuning on a Triton: one that runs already, or one that is started for it."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from loadtest.bench.system import lone_triton
from loadtest.tune.configuration import Space, parse_numbers, parse_preferences, present, space_around
from loadtest.tune.evidence import document_of, write
from loadtest.tune.journal import Journal
from loadtest.tune.live_triton import LiveTriton, read_config
from loadtest.tune.offering import Offering
from loadtest.tune.question import question
from loadtest.tune.target import parse_slo
from loadtest.tune.tuning import Outcome, Tuning
from services.core.address import Address
from services.core.errors import PenstockError

_LOAD_TIMEOUT_S = 300.0
_LEAST_TRIALS = 4
_SHARE = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks.

    Attributes:
        model: The model.
        version: Its version.
        repository: Where it is published.
        slo: Such as ``p99=20ms``.
        out: Folder for the record and the result.
        triton: HOST:PORT of the HTTP endpoint of a Triton that runs, gRPC one port higher; None starts one.
        instances: Values to try, with commas between; None for those that suit the machine. Likewise ``max_batch``,
            ``delay_us`` and ``preferred``.
        max_batch: See ``instances``.
        delay_us: See ``instances``.
        preferred: See ``instances``.
        rows: Rows of one request.
        window_s: Seconds of one measurement.
        trials: Most configurations to measure; None for a third of all.
        exhaustive: Whether to measure all instead of searching.
        seed: Of the arrivals.
    """

    model: str
    version: int
    repository: Path
    slo: str
    out: Path
    triton: str | None = None
    instances: str | None = None
    max_batch: str | None = None
    delay_us: str | None = None
    preferred: str | None = None
    rows: int = 1
    window_s: float = 3.0
    trials: int | None = None
    exhaustive: bool = False
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it.

    Attributes:
        outcome: The search, its confirmation and its curves.
        document: All of it as JSON has it.
        space: What was searched.
    """

    outcome: Outcome
    document: dict[str, Any]
    space: Space


def tune(request: Request, say: Callable[[str], None]) -> Tuned:
    """Tune a model and write what was found.

    Raises:
        ConfigurationError: The question has a wrong form, or the folder holds the record of another one.
        NotFound: There is no such model.
        Unavailable: Triton does not answer; asked again, the tuning goes on where it was.
    """
    slo = parse_slo(request.slo)
    config = read_config(request.repository, request.model, request.version)
    now = present(config)
    space = _space(request, space_around(config, slo.bound_s, os.cpu_count() or 1))
    asked = {
        "model": request.model,
        "version": request.version,
        "slo": slo.text,
        "space": space.as_json(),
        "exhaustive": request.exhaustive,
        "rows": request.rows,
        "window_s": request.window_s,
        "seed": request.seed,
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
    }
    journal = Journal(request.out / "trials.jsonl", asked)
    trials = request.trials or max(_LEAST_TRIALS, len(space) // _SHARE)
    say(f"{len(space)} configurations, at most {len(space) if request.exhaustive else trials} trials")
    with _triton(request, say) as (rest, grpc), LiveTriton(grpc, _LOAD_TIMEOUT_S) as triton:
        message = question(config, request.repository / request.model / str(request.version), request.rows, rest)
        offering = Offering(rest, message, slo, request.window_s, request.seed)
        tuning = Tuning(triton, config, offering, journal, say)
        try:
            outcome = asyncio.run(tuning.run(space, now, trials, exhaustive=request.exhaustive))
        finally:
            if request.triton is not None:
                triton.load(request.model, None)  # as it was
    document = document_of(outcome, journal.trials, asked)
    write(request.out, outcome, config, slo, document)
    return Tuned(outcome, document, space)


def _space(request: Request, around: Space) -> Space:
    changes: dict[str, Any] = {}
    for axis in ("instances", "max_batch", "delay_us"):
        if (text := getattr(request, axis)) is not None:
            changes[axis] = parse_numbers(text, f"--{axis.replace('_', '-')}")
    if request.preferred is not None:
        changes["preferred"] = parse_preferences(request.preferred)
    return replace(around, **changes)


@contextmanager
def _triton(request: Request, say: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Yield the HTTP and gRPC addresses of a Triton."""
    if request.triton is not None:
        address = Address.parse(request.triton, "--triton")
        yield str(address), str(Address(address.host, address.port + 1))
        return
    with tempfile.TemporaryDirectory(prefix="penstock-tune-") as folder:
        say("starting a Triton of its own")
        with lone_triton(request.repository, Path(folder)) as part:
            yield part.rest, part.grpc
            if (status := part.died()) is not None:
                raise PenstockError(f"Triton ended with {status}: {part.tail()}")
