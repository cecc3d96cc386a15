"""A/B tests on the dashboard: the form that starts one, and what the page of one shows."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest

from services.controller.dashboard import words
from services.controller.dashboard.arms import COLUMNS, arms_of
from services.controller.dashboard.experiment_form import ExperimentForm, fresh_experiment, read_experiment
from services.controller.dashboard.outlook import Outlook
from services.controller.dashboard.rollout_page import rollout_page
from services.controller.dashboard.steps import weight_of
from services.controller.dashboard.verb_words import verb_of
from services.controller.storage.store import AuditPage
from services.core.analysis.verdict import Check, Outcome, Verdict
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.rollouts.event import EventKind
from services.core.rollouts.evidence import Evidence
from services.core.rollouts.experiment import Experiment, OutcomeSpec
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec, Step, Strategy
from services.core.route import Arm
from tests.fakes.clock import FakeClock
from tests.fakes.control_plane import ControlPlane, FakeRepository
from tests.fakes.dashboard import OWN, browsing

pytestmark = pytest.mark.anyio

PATH = "/models/digits/experiment"
EXPERIMENT = Experiment(OutcomeSpec("clicked"), (Arm(3, 30),), min_outcomes=50)
SPEC = RolloutSpec("digits", 2, Strategy.AB, (Step(20, 60.0),), max_step_duration_s=600, experiment=EXPERIMENT)
# What is not in a list cannot be chosen from it by a person.
IMPOSSIBLE = [
    ("version", ""),
    ("experiment.outcome.kind", "label"),
    ("experiment.on_win", "cheer"),
    ("on_inconclusive", "maybe"),
]
SERVING = {"workers": 1, "acknowledged": 1, "lagging": []}


@pytest.fixture
async def world() -> AsyncIterator[ControlPlane]:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2, 3]
        await world.tick()
        yield world


@pytest.fixture
async def client(world: ControlPlane) -> AsyncIterator[httpx2.AsyncClient]:
    async with browsing(world) as client:
        yield client


def filled_in(html: str) -> dict[str, str]:
    """Return what a browser would send of a page's form as it is."""
    values = {}
    for tag in re.findall(r"<input [^>]*>", html):
        name, value = (re.search(rf' {key}="([^"]*)"', tag) for key in ("name", "value"))
        if name is not None:
            values[name[1]] = value[1] if value else ""
    for name, options in re.findall(r'<select id="[^"]*" name="([^"]*)"[^>]*>(.*?)</select>', html, re.DOTALL):
        found = re.search(r'<option value="([^"]*)" selected', options) or re.search(
            r'<option value="([^"]*)"', options
        )
        assert found is not None, f"{name} has nothing to choose from"
        values[name] = found[1]
    return values


async def sent(client: httpx2.AsyncClient, **changes: str) -> httpx2.Response:
    page = await client.get(PATH)
    named = {"actor": "ada", "experiment.outcome.name": "clicked"}
    return await client.post(PATH, data=filled_in(page.text) | named | changes, headers=OWN)


async def test_the_form_is_reached_from_the_model_and_every_field_of_it_has_a_label(client: httpx2.AsyncClient) -> None:
    assert f'href="{PATH}"' in (await client.get("/models/digits")).text
    page = (await client.get(PATH)).text
    shown = {name for name in filled_in(page) if name != "form_token"}
    assert {"version", "steps.0.weight_percent", "experiment.arms.0.version", "experiment.outcome.name"} <= shown
    assert shown == set(re.findall(r'<label for="([^"]+)"', page))
    assert "experiment.arms.1.version" not in shown, "three versions are stable and two arms"


async def test_the_form_with_a_name_for_the_outcome_starts_a_test_with_the_apis_defaults(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    done = await sent(client)
    assert (done.status_code, done.headers.get("location")) == (303, "/rollouts/digits-1"), done.text
    mine = (await world.rollout("digits-1")).spec
    await client.post("/v1/rollouts/digits-1/abort")
    await world.tick(20)
    body = {"model": "digits", "version": 3, "strategy": "ab", "experiment": {"outcome": {"name": "clicked"}}}
    assert (await client.post("/v1/rollouts", json=body)).status_code == 201
    assert mine == (await world.rollout("digits-2")).spec


async def test_everything_that_is_filled_in_is_what_is_asked_for(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    fields = {
        "version": "2",
        "steps.0.weight_percent": "20",
        "steps.0.duration_s": "86400",
        "steps.0.min_requests": "500",
        "experiment.arms.0.version": "3",
        "experiment.arms.0.weight_percent": "30",
        "experiment.outcome.name": "spent",
        "experiment.outcome.kind": "value",
        "experiment.outcome.low": "0",
        "experiment.outcome.high": "500",
        "experiment.outcome.better": "lower",
        "experiment.min_lift": "0.05",
        "experiment.significance": "0.01",
        "experiment.min_outcomes": "1000",
        "experiment.on_win": "promote",
        "max_step_duration_s": "172800",
        "on_inconclusive": "pause",
        "analysis.max_score_shift": "",
    }
    done = await sent(client, **fields)
    assert done.status_code == 303, done.text
    spec = (await client.get("/v1/rollouts/digits-1", headers={"accept": "*/*"})).json()["spec"]
    assert spec["experiment"] == {
        "outcome": {"name": "spent", "kind": "value", "low": 0.0, "high": 500.0, "better": "lower"},
        "arms": [{"version": 3, "weight_percent": 30}],
        "min_lift": 0.05,
        "significance": 0.01,
        "min_outcomes": 1000,
        "on_win": "promote",
    }
    assert [(step["weight_percent"], step["duration_s"], step["min_requests"]) for step in spec["steps"]] == [
        (20, 86400.0, 500)
    ]
    assert (spec["max_step_duration_s"], spec["on_inconclusive"]) == (172800.0, "pause")
    assert spec["analysis"]["max_score_shift"] is None


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"version": ""}, "version", "choose a version"),
        ({"version": "7"}, "version", "published: 1, 2, 3"),
        ({"version": "1"}, "version", "stable one already"),
        ({"steps.0.weight_percent": "100"}, "steps.0.weight_percent", "needs a mirror_percent"),
        ({"steps.0.weight_percent": "half"}, "steps.0.weight_percent", "whole number"),
        ({"experiment.arms.0.version": "2"}, "experiment.arms.0.weight_percent", "whole number"),
        ({"experiment.arms.0.weight_percent": "10"}, "experiment.arms.0.version", "choose a version"),
        ({"experiment.arms.0.version": "2", "experiment.arms.0.weight_percent": "0"},
         "experiment.arms.0.weight_percent", "expected 1 or more"),
        ({"experiment.arms.0.version": "8", "experiment.arms.0.weight_percent": "10"},
         "experiment.arms.0.version", "published: 1, 2, 3"),
        ({"experiment.arms.0.version": "3", "experiment.arms.0.weight_percent": "10"}, "arms", "expected each once"),
        ({"experiment.arms.0.version": "2", "experiment.arms.0.weight_percent": "50"}, "arms", "expected 99 at most"),
        ({"experiment.outcome.name": ""}, "experiment.outcome.name", "expected a name"),
        ({"experiment.outcome.name": "Clicked It"}, "experiment.outcome.name", "expected a name"),
        ({"experiment.outcome.kind": "label"}, "experiment.outcome.kind", "share"),
        ({"experiment.outcome.high": "5"}, "experiment.outcome.kind", "say kind value"),
        ({"experiment.outcome.kind": "value", "experiment.outcome.low": "5"}, "experiment.outcome.low",
         "the second larger"),
        ({"experiment.outcome.high": "much"}, "experiment.outcome.high", "expected a number"),
        ({"experiment.min_lift": "2%"}, "experiment.min_lift", "expected a number"),
        ({"experiment.min_lift": "11"}, "experiment.min_lift", "0.02 for 2 %"),
        ({"experiment.significance": "0.9"}, "experiment.significance", "1e-9 to 0.5"),
        ({"experiment.min_outcomes": "0"}, "experiment.min_outcomes", "nothing wins without outcomes"),
        ({"steps.0.duration_s": "-1"}, "steps.0.duration_s", "from 0 to"),
        ({"steps.0.min_requests": "0"}, "steps.0.min_requests", "no step passes without evidence"),
        ({"steps.0.duration_s": "7200", "max_step_duration_s": "3600"}, "max_step_duration_s",
         "raise max_step_duration_s"),
        ({"max_step_duration_s": "0"}, "max_step_duration_s", "from 1 to"),
        ({"on_inconclusive": "maybe"}, "on_inconclusive", "abort"),
        ({"experiment.on_win": "cheer"}, "experiment.on_win", "conclude"),
        ({"analysis.max_p99_ratio": "0.5"}, "analysis.max_p99_ratio", "from 1 to"),
        ({"analysis.max_error_increase": ""}, "analysis.max_error_increase", "expected a number"),
        ({"actor": " "}, "actor", "say who you are"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(
    client: httpx2.AsyncClient, world: ControlPlane, changes: dict[str, str], place: str, words: str
) -> None:
    refused = await sent(client, **{"experiment.min_outcomes": "321"} | changes)
    assert refused.status_code in (400, 404)
    error = re.search(rf'<p class="error" id="{re.escape(place)}-error">(.*?)</p>', refused.text)
    assert error is not None, re.findall(r'class="error" id="([^"]+)"', refused.text)
    assert words in error[1]
    if place != "arms":
        assert re.search(rf'aria-describedby="[^"]*{re.escape(place)}-error" aria-invalid="true"', refused.text)
    assert "Mend what is marked below" in refused.text
    kept = filled_in(refused.text)
    assert kept["experiment.min_outcomes"] == changes.get("experiment.min_outcomes", "321")
    for name, value in changes.items():
        assert kept[name] == value or (name, value) in IMPOSSIBLE, name
    assert await world.store.find() == []


async def test_several_mistakes_are_shown_at_once(client: httpx2.AsyncClient) -> None:
    refused = await sent(client, **{"version": "", "experiment.min_lift": "a bit", "actor": ""})
    assert {"version-error", "experiment.min_lift-error", "actor-error"} <= set(
        re.findall(r'class="error" id="([^"]+)"', refused.text)
    )


async def test_a_model_with_a_rollout_says_so_also_to_a_form_that_came_too_late(
    client: httpx2.AsyncClient, world: ControlPlane
) -> None:
    page = await client.get(PATH)
    form = filled_in(page.text) | {"actor": "ada", "experiment.outcome.name": "clicked"}
    assert (await client.post(PATH, data=form, headers=OWN)).status_code == 303
    assert "Rollout digits-1 is under way" in (await client.get(PATH)).text
    late = await client.post(PATH, data=form, headers=OWN)
    assert late.status_code == 409
    assert "abort it or wait until it is over" in late.text
    assert filled_in(late.text)["version"] == "3"


async def test_a_form_from_elsewhere_starts_nothing(client: httpx2.AsyncClient, world: ControlPlane) -> None:
    page = await client.get(PATH)
    form = filled_in(page.text) | {"actor": "eve", "experiment.outcome.name": "clicked"}
    for headers, changes in (({"origin": "http://evil.example"}, {}), (OWN, {"form_token": "x"})):
        assert (await client.post(PATH, data=form | changes, headers=headers)).status_code == 403
    assert await world.store.find() == []


def test_a_fresh_form_lacks_a_name_and_a_person_and_nothing_else() -> None:
    read = read_experiment(fresh_experiment(2), "digits")
    assert isinstance(read, ExperimentForm)
    assert set(read.errors) == {"actor"}
    named = ExperimentForm({**fresh_experiment(2).values, "actor": "ada"})
    again = read_experiment(named, "digits")
    assert isinstance(again, ExperimentForm)
    assert set(again.errors) == {"experiment.outcome.name"}


def tally(requests: int) -> Tally:
    latency = LatencyHistogram()
    latency.observe(0.01, requests)
    return Tally(requests, 0, 0, latency)


def totals(count: int, good: int) -> Totals:
    found = Totals()
    for number in range(count):
        found = found.with_outcome(float(number * 37 % count < good))
    return found


def under_way(outcomes: dict[int, Totals], phase: Phase = Phase.PROGRESSING) -> Rollout:
    evidence = Evidence(tally(5000), tally(2000), arms={3: tally(3000)}, outcomes=outcomes)
    return replace(new_rollout(SPEC, 1, 0.0), phase=phase, evidence=evidence)


def plainly(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_each_arm_shows_its_share_requests_outcomes_and_lift_with_bounds() -> None:
    arms = arms_of(under_way({1: totals(400, 160), 2: totals(400, 320), 3: totals(400, 40)}))
    assert arms is not None
    shown = {row.version: dict(zip(COLUMNS, row.cells, strict=True)) for row in arms.rows}
    assert list(shown) == ["1 (stable)", "2", "3"]
    shares = [(cells["Share"].value, plainly(cells["Share"].bounds)) for cells in shown.values()]
    assert shares == [("50 %", "seen 50.0 %"), ("20 %", "seen 20.0 %"), ("30 %", "seen 30.0 %")]
    assert [plainly(cells["Requests"].value) for cells in shown.values()] == ["5 000", "2 000", "3 000"]
    assert [cells["Mean"].value for cells in shown.values()] == ["0.4", "0.8", "0.1"]
    assert plainly(shown["2"]["Lift"].value) == "100.0 %"
    low, high = re.findall(r"-?[\d.]+", shown["2"]["Lift"].bounds)
    assert 0 < float(low) < 100 < float(high)
    assert shown["2"]["Stands"].value == "is better so far", "it wins when a verdict says so"
    assert shown["3"]["Stands"].value == "is worse"
    assert shown["1 (stable)"]["Lift"].value == "\N{EN DASH}"


def test_an_arm_stands_as_far_as_its_outcomes_say() -> None:
    few = arms_of(under_way({1: totals(400, 160), 2: totals(10, 10)}))
    assert few is not None
    assert [plainly(row.cells[-1].value) for row in few.rows[1:]] == ["not yet 50 outcomes each"] * 2
    nothing = arms_of(under_way({}))
    assert nothing is not None
    assert [row.cells[6].value for row in nothing.rows[1:]] == ["\N{EN DASH}"] * 2
    check = Check("lift:3", Outcome.PASS, {"winner": 1}, "it wins")
    won = replace(
        under_way({1: totals(400, 160), 2: totals(400, 165), 3: totals(400, 320)}),
        verdict=Verdict(Outcome.PASS, (check,)),
    )
    found = arms_of(won)
    assert found is not None
    assert [row.cells[-1].value for row in found.rows] == ["baseline", "open", "wins"]


def test_the_actual_weight_is_a_share_of_all_arms() -> None:
    assert weight_of(under_way({}), SERVING).actual == 20.0


def test_a_promotion_means_the_winner_and_an_abort_all_arms() -> None:
    check = Check("lift:3", Outcome.PASS, {"winner": 1}, "it wins")
    won = replace(under_way({}), verdict=Verdict(Outcome.PASS, (check,)))
    assert "Version 3 gets all traffic now, without further steps, and versions 1 and 2 are unloaded" in (
        verb_of(won, EventKind.PROMOTE).consequence
    )
    assert "Version 2 gets all traffic now" in verb_of(under_way({}), EventKind.PROMOTE).consequence
    assert "versions 2 and 3 are unloaded" in verb_of(won, EventKind.ABORT).consequence
    assert "Every version keeps its share" in verb_of(won, EventKind.PAUSE).consequence
    page = rollout_page(won, [], AuditPage((), None), serving=SERVING, trend=None, now=1.0)
    assert page.purpose == "Versions 2 and 3 are compared with version 1"
    assert page.phase_words == "Each arm has its share while outcomes come back"


async def test_what_is_missing_is_said_and_worked_out_again_only_after_a_while() -> None:
    clock = FakeClock()
    outlook = Outlook(clock)
    nothing = replace(under_way({}), step_entered_at=clock())
    clock.advance(20.0)
    for outcomes, versions in (({}, "versions 1, 2 and 3"), ({1: totals(9, 3), 2: totals(9, 3)}, "version 3")):
        silent = replace(nothing, evidence=under_way(outcomes).evidence)
        assert await outlook.of(silent) == (
            f"No outcome of {versions} was fed back yet, and without outcomes there is no verdict."
        )
    some = replace(nothing, evidence=under_way({1: totals(100, 40), 2: totals(60, 27), 3: totals(60, 21)}).evidence)
    assert await outlook.of(replace(some, evidence=replace(some.evidence, candidate=Tally()))) == (
        "Nothing to compare was answered in this step yet."
    )
    needs = await outlook.of(some)
    assert re.fullmatch(
        r"Needs about [\d,]+ more requests and [\d,]+ more outcomes, [\d.]+ (s|min|h) at this rate: "
        r"then the verdict is (pass|fail)\.",
        needs,
    ), needs
    enough = replace(
        nothing, evidence=under_way({1: totals(400, 160), 2: totals(400, 320), 3: totals(400, 80)}).evidence
    )
    assert await outlook.of(enough) == needs, "it is fresh enough"
    clock.advance(11.0)
    assert "The evidence is enough to pass; the shortest time is over in 29 s" in await outlook.of(enough)
    clock.advance(2.0)
    assert "over in 27 s" in await outlook.of(enough)
    assert "enough to pass, which counts when somebody resumes" in await outlook.of(replace(enough, phase=Phase.PAUSED))
    assert await outlook.of(replace(enough, phase=Phase.CONCLUDED)) == ""


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("step 1 of 1 (30 %) is decided, version 2 wins: clicked of version 2: mean 0.9; all answers are finite",
         "step 1 of 1 (30 %) is decided, version 2 wins"),
        ("step 1 of 1 (30 %) is decided, no arm wins: clicked of version 2: mean 0.4",
         "step 1 of 1 (30 %) is decided, no arm wins"),
        ("step 1 of 3 (5 %) passed: all answers are finite", "step 1 of 3 (5 %) passed"),
        ("step 1 of 1 (30 %) failed: bad answers: 9 %", "step 1 of 1 (30 %) failed: bad answers: 9 %"),
        ("ada said abort at step 1 of 1 (30 %): step 1 of 1 (30 %) passed: no", None),
    ],
)  # fmt: skip
def test_a_reason_is_shown_without_the_sentences_of_checks_that_passed(reason: str, shown: str | None) -> None:
    assert words.brief(reason) == (shown or reason)
