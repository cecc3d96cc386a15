"""``penstock rollout``: starts, watches and steers rollouts over the controller's REST API."""

from __future__ import annotations

import getpass
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from services.cli.console import Console
from services.cli.controller_client import ControllerClient, controller_option, path_of, request_id_option
from services.cli.models import LOADTEST_REMEDY
from services.cli.rollout_options import asked_options
from services.cli.rollout_replay import replayed
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
from services.core.errors import MissingDependency, Unavailable, UpstreamFailure

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
@asked_options
@click.option("--actor", default=_actor, show_default="you", help="Who starts it; goes into the history.")
@request_id_option
@click.pass_obj
def start(console: Console, /, *, url: str, actor: str, request_id: str, **asked: Any) -> None:
    """Start a rollout of MODEL to a published version."""
    with ControllerClient(url) as client:
        body = {**body_of(**asked), "actor": actor, "request_id": request_id}
        started = client.post("/v1/rollouts", body)
    console.say(f"{started['id']}: {one_line(started)}")
    console.say(f"watch it with: penstock rollout get {started['id']} --watch")
    console.result(started)


@rollout.command()
@asked_options
@click.pass_obj
def plan(console: Console, /, *, url: str, **asked: Any) -> None:
    """Say how long each step of such a rollout will take at the traffic of the last minute; nothing is started."""
    with ControllerClient(url) as client:
        found = client.post("/v1/plans", body_of(**asked))
    console.say(f"{found['model']}: {found['requests_per_s']:g} requests/s in the last minute")
    for step in found["steps"]:
        console.say(f"  {step['text']}")
    if found["proposals"]:
        console.say("The traffic is too thin for this. What helps:")
    for proposal in found["proposals"]:
        console.say(f"  - {proposal['text']}")
    console.result(found)


@rollout.command()
@click.argument("rollout_id")
@click.option("--replay", is_flag=True, help="Make every verdict of the history again, here, and compare.")
@controller_option
@click.pass_obj
def explain(console: Console, rollout_id: str, replay: bool, url: str) -> int:
    """Tell a rollout in plain words: where it stands, why, and what is missing.

    Exit codes: 0, and with --replay 1 where a verdict that was stored is not the one that its evidence gives.
    """
    with ControllerClient(url) as client:
        told = client.get(f"{path_of('rollouts', rollout_id)}/explanation")
        lines = client.get(f"{path_of('rollouts', rollout_id)}/history")["history"] if replay else []
    for line in told["lines"]:
        console.say(line)
    again = [replayed(line) for line in lines if line["judged"] is not None]
    for one in again:
        console.say(one.text)
    console.result({**told, "replayed": [one.document for one in again]} if replay else told)
    return 0 if all(one.same for one in again) else _FAILED


@rollout.command()
@click.argument("rollout_id")
@click.option("--watch", is_flag=True, help="Print every change until the rollout is over; exit 1 unless promoted.")
@controller_option
@click.pass_obj
def get(console: Console, rollout_id: str, watch: bool, url: str) -> int:
    """Show a rollout: where it stands, why, and on what evidence."""
    with ControllerClient(url) as client:
        found = _watched(console, client, rollout_id) if watch else client.get(path_of("rollouts", rollout_id))
    if not watch:
        for line in describe(found):
            console.say(line)
    console.result(found)
    return _FAILED if watch and found["phase"] != "promoted" else 0


def _watched(console: Console, client: ControllerClient, rollout_id: str, every_s: float = _WATCH_S) -> Any:
    """Print a line at every change, through restarts of the controller, and return the rollout when it is over.

    Raises:
        PenstockError: The controller answers, and not with the rollout: it is not there any more, or cannot be read.
    """
    shown, away = "", False
    known = client.get(path_of("rollouts", rollout_id))
    while True:
        line = one_line(known)
        if line != shown:
            console.say(line)
            shown = line
        if not known["active"]:
            console.say(known["reason"])
            return known
        time.sleep(every_s)
        try:
            known, away = client.get(path_of("rollouts", rollout_id)), False
        except (Unavailable, UpstreamFailure) as error:
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
        lines = client.get(f"{path_of('rollouts', rollout_id)}/history")["history"]
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
            steered = client.post(f"{path_of('rollouts', rollout_id)}/{verb}", said)
        console.say(f"{steered['id']}: {one_line(steered)}")
        console.result(steered)

    rollout.command(verb, help=words)(steer)


_add_verb("pause", "Hold the candidate's weight; harm still rolls it back.")
_add_verb("resume", "Go on after a pause.")
_add_verb("promote", "Give the candidate all traffic now, without waiting for evidence.")
_add_verb("abort", "Give stable all traffic back now.")


@rollout.command()
@click.pass_obj
def selftest(console: Console) -> int:
    """Prove that rollouts do what they are for: known faults behind a candidate are rolled back, an equal one promoted.

    It starts a Triton, a controller, a gateway and load of its own, on free ports, and takes about three minutes.

    Exit codes: 0 every rollout ended as it had to, 1 one did not, 3 something is missing on this machine.
    """
    try:
        from loadtest.selftest.experiment import run
        from loadtest.selftest.scenarios import SCENARIOS
    except ImportError as error:
        raise MissingDependency(f"the load generator cannot be imported: {error}", LOADTEST_REMEDY) from error

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends, like Ctrl-C, with everything that was started
    with tempfile.TemporaryDirectory(prefix="penstock-selftest-") as folder:
        ended = run(SCENARIOS, Path(folder), console.say)
    rows = [
        [
            one.scenario,
            one.phase,
            ", ".join(one.checks),
            f"{one.seconds:.0f} s",
            one.exposed,
            "yes" if one.right else "NO",
        ]
        for one in ended
    ]
    console.table("", ["candidate", "ended", "decided by", "after", "requests exposed", "as it had to"], rows)
    console.result([one.as_json() for one in ended])
    return 0 if all(one.right for one in ended) else _FAILED
