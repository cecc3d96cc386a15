"""``penstock replay``: recorded inputs sent through the gateway, as evidence for a rollout where traffic is thin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx2
import orjson

from services.cli.console import Console
from services.cli.controller_client import ControllerClient, controller_option, path_of
from services.cli.finite_float import FiniteRange
from services.cli.paced_sending import Sent, send_paced
from services.cli.recorded_requests import recorded
from services.cli.rollout_text import one_line
from services.core.errors import InvalidRequest, NotFound, Unavailable, UpstreamFailure
from services.core.inference import TensorSpec
from services.core.rollouts.forecast import duration
from services.core.rollouts.rollout import Phase

_FAILED = 1
_LOOK_S = 1.0
_WORDS = 300
_EARLY = frozenset(phase.value for phase in Phase if phase.early)
_DEFAULT_GATEWAY = "http://127.0.0.1:8000"


@click.command()
@click.argument("model")
@click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="npz file with an array for each input, or the JSON bodies of inference requests, one to a line.",
)
@click.option("--rate", type=FiniteRange(0, min_open=True), default=20.0, show_default=True, help="A second.")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="How often each is sent.")
@click.option("--at-once", type=click.IntRange(1, 1024), default=32, show_default=True, help="Most without an answer.")
@click.option("--timeout", type=FiniteRange(0, min_open=True), default=10.0, show_default=True, help="Seconds.")
@click.option("--rollout", help="Begin when this rollout's steps do, and stop when it is over.")
@click.option("--gateway", default=_DEFAULT_GATEWAY, envvar="PENSTOCK_GATEWAY_URL", show_default=True, help="Its REST.")
@controller_option
@click.pass_obj
def replay(
    console: Console,
    /,
    *,
    model: str,
    data: Path,
    rate: float,
    rounds: int,
    at_once: int,
    timeout: float,
    rollout: str | None,
    gateway: str,
    url: str,
) -> int:
    """Send recorded inputs of MODEL through the gateway as a client would, each once, at a steady rate.

    A rollout whose step copies requests then compares both versions on them: a shadow, the check of a blue-green
    switch, or any step with MIRROR. Nobody's answer depends on it. The same input again is no new evidence of answers.

    Exit codes: 0 everything was answered, 1 something was not.
    """
    if rounds > 1:
        console.warn("--rounds: the same inputs again say no more of the answers, of latency and errors alone")
    with ControllerClient(url) as controller:
        watch = None if rollout is None else _Watch(console, controller, rollout, model)
        sending = _Sending(model, data, rounds, rate, at_once)
        sent = asyncio.run(_replayed(console, gateway, sending, timeout, watch))
    _say(console, sent)
    if watch is not None:
        console.say(f"{rollout}: {one_line(watch.latest)}")
    console.result({"model": model, **sent.as_json(), "rollout": None if watch is None else watch.latest})
    return _FAILED if sent.failed else 0


@dataclass(frozen=True, slots=True)
class _Sending:
    """What is sent, and how fast."""

    model: str
    data: Path
    rounds: int
    rate_per_s: float
    at_once: int


class _Watch:
    """Looks at a rollout while requests are sent.

    Attributes:
        latest: The rollout as it was seen last.
        over: Set when the rollout is over.

    Raises:
        NotFound: There is no such rollout.
        InvalidRequest: It is another model's, or over.
    """

    def __init__(self, console: Console, controller: ControllerClient, rollout_id: str, model: str) -> None:
        self._console, self._controller, self._path = console, controller, path_of("rollouts", rollout_id)
        self._begun, self.over = asyncio.Event(), asyncio.Event()
        self.latest: dict[str, Any] = controller.get(self._path)
        if self.latest["model"] != model:
            raise InvalidRequest(f"rollout {rollout_id} is of model '{self.latest['model']}', and not of '{model}'")
        if not self.latest["active"]:
            raise InvalidRequest(f"rollout {rollout_id} is over ({self.latest['phase']}); name one under way")

    async def begun(self) -> None:
        """Wait until the first step begins, or nobody looks any more."""
        await self._begun.wait()

    async def look(self) -> None:
        """Look again and again; while the controller is away the last state stands.

        Raises:
            PenstockError: The controller answers, and not with the rollout.
        """
        away = False
        try:
            while self.latest["active"]:
                if self.latest["phase"] not in _EARLY:
                    self._begun.set()
                await asyncio.sleep(_LOOK_S)
                try:
                    self.latest, away = await asyncio.to_thread(self._controller.get, self._path), False
                except (Unavailable, UpstreamFailure) as error:
                    if not away:
                        self._console.warn(f"waiting for the controller: {error.message}")
                    away = True
        finally:
            self._begun.set()
            self.over.set()


async def _replayed(console: Console, gateway: str, sending: _Sending, timeout_s: float, watch: _Watch | None) -> Sent:
    async with _client(gateway, timeout_s, sending.at_once) as client:
        inputs = await _inputs(client, gateway, sending.model)
        count = sum(1 for _ in recorded(sending.data, sending.model, inputs))  # a wrong one is found before any is sent
        seconds = sending.rounds * count / sending.rate_per_s
        console.say(f"{sending.rounds * count:,} requests to {sending.model}, about {duration(seconds)}")
        bodies = (body for _ in range(sending.rounds) for body in recorded(sending.data, sending.model, inputs))
        looking = None if watch is None else asyncio.create_task(watch.look())
        try:
            if watch is not None:
                await watch.begun()
            sent = await send_paced(
                client,
                f"/v2/models/{quote(sending.model, safe='')}/infer",
                bodies,
                rate_per_s=sending.rate_per_s,
                at_once=sending.at_once,
                over=asyncio.Event() if watch is None else watch.over,
            )
            if looking is not None and looking.done():
                looking.result()  # raises what kept it from looking on
            return sent
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)


def _client(gateway: str, timeout_s: float, at_once: int) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    try:
        return httpx2.AsyncClient(base_url=gateway, timeout=timeout_s, limits=limits, trust_env=False)
    except httpx2.InvalidURL as error:
        raise InvalidRequest(f"the gateway's URL '{gateway}' is wrong ({error}); expected http://HOST:PORT") from error


async def _inputs(client: httpx2.AsyncClient, gateway: str, model: str) -> tuple[TensorSpec, ...]:
    """Return the model's inputs, as the gateway tells them.

    Raises:
        Unavailable: No gateway answers.
        NotFound: It does not serve the model.
    """
    try:
        response = await client.get(f"/v2/models/{quote(model, safe='')}")
        if not response.is_success:
            raise NotFound(f"{gateway} does not serve '{model}': {response.status_code} {response.text[:_WORDS]}")
        told = orjson.loads(response.content)["inputs"]
        return tuple(TensorSpec(one["name"], one["datatype"], tuple(map(int, one["shape"]))) for one in told)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unavailable(
            f"no gateway answers at {gateway} ({error}); start one with `penstock up`, or name another with --gateway "
            "or PENSTOCK_GATEWAY_URL"
        ) from error
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UpstreamFailure(
            f"{gateway} does not describe '{model}' as an inference server does ({error!r})"
        ) from error


def _say(console: Console, sent: Sent) -> None:
    found = sent.as_json()
    stopped = "; stopped, because the rollout is over" if sent.ended_early else ""
    console.say(f"{sent.answered:,} answered in {duration(sent.seconds)}, {sent.failed.total():,} not{stopped}")
    if sent.answered:
        console.say(", ".join(f"p{q} {found[f'p{q}_ms']} ms" for q in (50, 95, 99)))
    for kind, count in sent.failed.most_common():
        console.say(f"{count:,} x {kind}: {sent.said[kind]}")
