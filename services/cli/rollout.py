"""``penstock rollout``: starts, watches and steers rollouts over the controller's REST API."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Any

import click

from services.cli.console import Console
from services.cli.controller_client import ControllerClient, controller_option, request_id_option
from services.cli.rollout_start import body_of
from services.cli.rollout_text import (
    AUDIT_COLUMNS,
    HISTORY_COLUMNS,
    LIST_COLUMNS,
    audit_row,
    describe,
    history_row,
    list_row,
    one_line,
)
from services.core.errors import PenstockError
from services.core.rollout_spec import OnInconclusive

_WATCH_S = 1.0
_FAILED = 1


def _actor() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user id, as in some containers
        return "cli"


@click.group()
def rollout() -> None:
    """Start, watch and steer rollouts."""


@rollout.command()
@click.argument("model", required=False)
@click.option("--version", type=int, help="The candidate: a published version that is not the stable one.")
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), help="YAML file; flags go over it.")
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="WEIGHT[:DURATION[:REQUESTS]]",
    help="A step, for example 5:30s:100; repeat for more. Default: 5, 25, 50, each 60s and 200 requests.",
)
@click.option("--max-error-increase", type=float, help="Allowed increase of the share of bad answers, absolute.")
@click.option("--max-stable-error", type=float, help="Share of stable's bad answers above which nothing passes.")
@click.option("--max-p99-ratio", type=float, help="Allowed p99 as a multiple of stable's.")
@click.option("--p99-floor-s", type=float, help="Slower by no more than this is never judged, seconds.")
@click.option("--slow-s", type=float, help="Answers that take longer are slow, seconds; their share is compared.")
@click.option("--max-slow-increase", type=float, help="Allowed increase of the share of slow answers, absolute.")
@click.option("--max-prediction-shift", type=float, help="Allowed distance of the mixes of predicted classes.")
@click.option("--false-rollback-bound", type=float, help="Highest probability of a false rollback.")
@click.option("--false-promotion-bound", type=float, help="Highest probability of promoting harm.")
@click.option("--max-step-duration", metavar="DURATION", help="A step without a pass by then is inconclusive.")
@click.option("--on-inconclusive", type=click.Choice([*OnInconclusive]), help="What is done then. Default: abort.")
@click.option("--actor", default=_actor, show_default="you", help="Who starts it; goes into the history.")
@request_id_option
@controller_option
@click.pass_obj
def start(
    console: Console,
    /,
    *,
    url: str,
    model: str | None,
    version: int | None,
    file: Path | None,
    steps: tuple[str, ...],
    max_step_duration: str | None,
    on_inconclusive: str | None,
    actor: str,
    request_id: str,
    **analysis: float | None,
) -> None:
    """Start a rollout of MODEL to a published version."""
    body = body_of(
        file,
        model=model,
        version=version,
        steps=steps,
        analysis=analysis,
        max_step_duration=max_step_duration,
        on_inconclusive=on_inconclusive,
    )
    with ControllerClient(url) as client:
        started = client.post("/v1/rollouts", {**body, "actor": actor, "request_id": request_id})
    console.say(f"{started['id']}: {one_line(started)}")
    console.say(f"watch it with: penstock rollout get {started['id']} --watch")
    console.result(started)


@rollout.command()
@click.argument("rollout_id")
@click.option("--watch", is_flag=True, help="Print every change until the rollout is over; exit 1 unless promoted.")
@controller_option
@click.pass_obj
def get(console: Console, rollout_id: str, watch: bool, url: str) -> int:
    """Show a rollout: where it stands, why, and on what evidence."""
    with ControllerClient(url) as client:
        found = _watched(console, client, rollout_id) if watch else client.get(f"/v1/rollouts/{rollout_id}")
    if not watch:
        for line in describe(found):
            console.say(line)
    console.result(found)
    return _FAILED if watch and found["phase"] != "promoted" else 0


def _watched(console: Console, client: ControllerClient, rollout_id: str) -> Any:
    """Print a line at every change, through restarts of the controller, and return the rollout when it is over."""
    shown, away = "", False
    known = client.get(f"/v1/rollouts/{rollout_id}")
    while True:
        line = one_line(known)
        if line != shown:
            console.say(line)
            shown = line
        if not known["active"]:
            console.say(known["reason"])
            return known
        time.sleep(_WATCH_S)
        try:
            known, away = client.get(f"/v1/rollouts/{rollout_id}"), False
        except PenstockError as error:
            if not away:
                console.warn(f"waiting for the controller: {error.message}")
            away = True


@rollout.command("list")
@click.option("--model", help="Only rollouts of this model.")
@click.option("--active", is_flag=True, help="Only rollouts that are not over.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="The latest so many.")
@controller_option
@click.pass_obj
def list_(console: Console, model: str | None, active: bool, limit: int, url: str) -> None:
    """List rollouts, the latest first."""
    with ControllerClient(url) as client:
        found = client.get("/v1/rollouts", model=model, active=active, limit=limit)["rollouts"]
    if found:
        console.table("", LIST_COLUMNS, [list_row(each) for each in found])
    else:
        console.say("no rollouts")
    console.result(found)


@rollout.command()
@click.argument("rollout_id")
@controller_option
@click.pass_obj
def history(console: Console, rollout_id: str, url: str) -> None:
    """Tell why each step of a rollout was taken; with --json also every number of every verdict."""
    with ControllerClient(url) as client:
        lines = client.get(f"/v1/rollouts/{rollout_id}/history")["history"]
    console.table(rollout_id, HISTORY_COLUMNS, [history_row(line) for line in lines])
    console.result(lines)


@rollout.command()
@click.argument("rollout_id", required=False)
@click.option("--model", help="Only of this model.")
@click.option("--actor", help="Only by this actor.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="The latest so many.")
@click.option("--before", type=click.IntRange(1), help="Older than this place, as the last call named it.")
@controller_option
@click.pass_obj
def audit(
    console: Console,
    /,
    *,
    rollout_id: str | None,
    model: str | None,
    actor: str | None,
    limit: int,
    before: int | None,
    url: str,
) -> None:
    """Tell who did what, when, from which state to which, and what was refused; the latest first."""
    with ControllerClient(url) as client:
        page = client.get("/v1/audit", rollout=rollout_id, model=model, actor=actor, limit=limit, before=before)
    if page["audit"]:
        console.table("", AUDIT_COLUMNS, [audit_row(record) for record in page["audit"]])
    else:
        console.say("nothing was done")
    if page["more"]:
        console.say(f"older ones: --before {page['more']}")
    console.result(page)


def _add_verb(verb: str, words: str) -> None:
    @click.argument("rollout_id")
    @click.option("--reason", default="", help="Why; goes into the history.")
    @click.option("--actor", default=_actor, show_default="you", help="Who says it; goes into the history.")
    @request_id_option
    @controller_option
    @click.pass_obj
    def steer(console: Console, /, *, rollout_id: str, reason: str, actor: str, request_id: str, url: str) -> None:
        said = {"actor": actor, "reason": reason, "request_id": request_id}
        with ControllerClient(url) as client:
            steered = client.post(f"/v1/rollouts/{rollout_id}/{verb}", said)
        console.say(f"{steered['id']}: {one_line(steered)}")
        console.result(steered)

    rollout.command(verb, help=words)(steer)


_add_verb("pause", "Hold the candidate's weight; harm still rolls it back.")
_add_verb("resume", "Go on after a pause.")
_add_verb("promote", "Give the candidate all traffic now, without waiting for evidence.")
_add_verb("abort", "Give stable all traffic back now.")
