"""``penstock rollout`` against the controller's own REST application."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import click
import httpx2
import pytest
from click.testing import CliRunner
from click.types import FloatParamType

from services.cli.console import Console
from services.cli.controller_client import ControllerClient, path_of
from services.cli.rollout import _watched, plan, rollout, start
from services.cli.rollout_replay import replayed
from services.cli.rollout_start import body_of, duration_s, step_of
from services.cli.rollout_text import HISTORY_COLUMNS, LIST_COLUMNS, describe, history_row, list_row, one_line
from services.controller.api.rest import rest_app
from services.controller.api.rest_models import MemoryModel, RolloutModel
from services.core.errors import (
    ConfigurationError,
    Conflict,
    IntegrityError,
    InvalidRequest,
    NotFound,
    Unavailable,
    UpstreamFailure,
)
from services.core.memory.terms import LeakCheck, MemoryTerms
from services.core.rollouts.rollout_spec import AnalysisConfig, RolloutSpec, Step, Strategy
from services.core.rollouts.start_command import start_command
from tests.fakes.control_plane import ControlPlane, FakeRepository


def answering(status: int, body: bytes) -> ControllerClient:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body))
    return ControllerClient("http://controller", transport)


def body(**given: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "model": "digits",
        "version": 2,
        "steps": (),
        "max_step_duration": None,
    }
    return body_of(given.pop("file", None), **(defaults | given.pop("analysis", {}) | given))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("200ms", 0.2)]
)
def test_a_duration_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-3s", "3 days", "nan", "1e3"])
def test_a_wrong_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="for example 30s"):
        duration_s(text)


def test_a_step_leaves_out_what_the_controller_shall_choose() -> None:
    assert step_of("5") == {"weight_percent": 5}
    assert step_of("5:30s") == {"weight_percent": 5, "duration_s": 30.0}
    assert step_of("5:1m:100") == {"weight_percent": 5, "duration_s": 60.0, "min_requests": 100}
    assert step_of("0:1m:100:50") == {
        "weight_percent": 0,
        "duration_s": 60.0,
        "min_requests": 100,
        "mirror_percent": 50,
    }


@pytest.mark.parametrize("text", ["", "five", "5:30s:many", "5:30s:1:2:3", "-5", "5:", "5:30s:"])
def test_a_wrong_step_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="for example 5:30s:100"):
        step_of(text)


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(
        "model: digits\nversion: 2\nsteps: [{weight_percent: 10}]\n"
        "analysis: {max_p99_ratio: 2.0, max_error_increase: 0.5}\n"
    )
    assert body(file=file, model=None, version=None) == {
        "model": "digits",
        "version": 2,
        "steps": [{"weight_percent": 10}],
        "analysis": {"max_p99_ratio": 2.0, "max_error_increase": 0.5},
    }
    over = body(file=file, version=3, steps=("7",), analysis={"max_p99_ratio": 3.0}, max_step_duration="5m")
    assert (over["version"], over["steps"], over["max_step_duration_s"]) == (3, [{"weight_percent": 7}], 300.0)
    assert over["analysis"] == {"max_p99_ratio": 3.0, "max_error_increase": 0.5}


def test_what_is_asked_of_memory_goes_over_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text("model: digits\nversion: 2\nmemory: {reserve: 0.2, leak_check: require}\n")
    over = body(file=file, memory_leak_check="off", memory_window_s=900.0, memory_reserve=None)
    assert over["memory"] == {"reserve": 0.2, "leak_check": "off", "window_s": 900.0}
    assert "memory" not in over["analysis"]
    terms = RolloutModel.model_validate(over).spec().memory
    assert terms == MemoryTerms(reserve=0.2, leak_check=LeakCheck.OFF, window_s=900.0)


def test_every_key_of_memory_is_an_option_of_start_and_of_plan() -> None:
    for verb in (start, plan):
        assert {f"memory_{key}" for key in MemoryModel.model_fields} <= {option.name for option in verb.params}


def test_a_wrong_key_in_the_file_is_refused_with_the_nearest_right_one(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text("model: digits\nversion: 2\nanalysis:\n  max_p99_ration: 2.0\n")
    with pytest.raises(ConfigurationError, match=r"rollout\.yaml:4.*max_p99_ratio"):
        body(file=file)


def test_what_nobody_named_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="model and version missing"):
        body(model=None, version=None)


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, InvalidRequest), (404, NotFound), (409, Conflict), (503, Unavailable), (500, UpstreamFailure)],
)
def test_a_refusal_keeps_the_controllers_words(status: int, error: type[Exception]) -> None:
    with answering(status, b'{"error": "the words"}') as client, pytest.raises(error, match="the words"):
        client.get("/v1/rollouts")


@pytest.mark.parametrize("answer", [b"<html>", b"", b"\xff"])
def test_something_that_is_no_controller_is_said_to_be_none(answer: bytes) -> None:
    with answering(200, answer) as client, pytest.raises(UpstreamFailure, match="is that a Penstock controller"):
        client.get("/v1/rollouts")


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises((InvalidRequest, Unavailable)), ControllerClient("not a url") as client:
        client.get("/v1/rollouts")


@pytest.mark.parametrize("document", [{"a": float("nan")}, {"reason": b"\xff".decode(errors="surrogateescape")}])
def test_what_no_request_can_carry_is_refused(document: dict[str, Any]) -> None:
    with answering(200, b"{}") as client, pytest.raises(InvalidRequest, match="cannot be sent"):
        client.post("/v1/rollouts", document)


def test_a_control_character_in_a_name_is_refused() -> None:
    with answering(200, b"{}") as client, pytest.raises(InvalidRequest, match="no control character"):
        client.get("/v1/rollouts/digits\n1")


@pytest.mark.parametrize(
    ("name", "path"), [("digits-1", "digits-1"), ("a?b#c/d", "a%3Fb%23c%2Fd"), ("caf\udce9\r", "caf%E9%0D")]
)
def test_a_name_stays_a_name_in_a_path(name: str, path: str) -> None:
    assert path_of("rollouts", name) == f"/v1/rollouts/{path}"


@pytest.mark.parametrize("verb", [start, plan], ids=["start", "plan"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_every_number_of_a_rollout_must_be_finite(verb: click.Command, value: str) -> None:
    numbers = [option.opts[0] for option in verb.params if isinstance(option.type, FloatParamType)]
    assert {"--max-error-increase", "--memory-window-s"} <= set(numbers)
    for option in numbers:
        done = CliRunner().invoke(verb, ["digits", "--version", "2", f"{option}={value}"])
        assert done.exit_code == 2
        assert f"'{value}' is no finite number" in done.output


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A rollout that is over, and its history, as the controller's REST gives them."""

    async def roll() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
            await world.serve()
            world.repository.published["digits"] = [1, 2]
            app = rest_app(world.operations, world.overview, world.insight, world.metrics)
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://c") as client:
                step = {"weight_percent": 50, "duration_s": 2, "min_requests": 10}
                await client.post("/v1/rollouts", json={"model": "digits", "version": 2, "steps": [step]})
                await world.tick(20)
                rollout = (await client.get("/v1/rollouts/digits-1")).json()
                return rollout, (await client.get("/v1/rollouts/digits-1/history")).json()["history"]

    return asyncio.run(roll())


def test_a_rollout_is_told_with_its_reason_evidence_and_checks(
    told: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    rollout, _ = told
    text = "\n".join(describe(rollout))
    for words in ("digits-1: promoted", "why: step 1 of 1 (50 %) passed", "candidate: ", "p99", "pass"):
        assert words in text
    row = list_row(rollout)
    assert len(row) == len(LIST_COLUMNS)
    assert str(row[-1]).startswith("step 1 of 1 (50 %) passed")
    assert len(str(row[-1])) < len(rollout["reason"]), "a list has a line for each rollout, not a paragraph"
    assert "version 1 -> 2" in one_line(rollout)
    assert json.dumps(rollout)


def test_watching_outlasts_a_controller_that_is_away_and_ends_where_it_has_no_such_rollout(
    told: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    active = told[0] | {"active": True}
    answers: list[httpx2.Response | Exception] = [
        httpx2.Response(200, json=active),
        httpx2.Response(503, json={"error": "no leader"}),
        httpx2.ConnectError("refused"),
        httpx2.Response(502, text="a proxy"),
        httpx2.Response(200, json=active),
        httpx2.Response(404, json={"error": "no rollout digits-1"}),
    ]

    def answer(_: httpx2.Request) -> httpx2.Response:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    transport = httpx2.MockTransport(answer)
    with ControllerClient("http://controller", transport) as client, pytest.raises(NotFound, match="no rollout"):
        _watched(Console(), client, "digits-1", every_s=0.0)
    assert answers == []


def test_the_history_has_a_row_with_a_reason_for_every_step(
    told: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    _, lines = told
    rows = [history_row(line) for line in lines]
    assert all(len(row) == len(HISTORY_COLUMNS) and row[-1] for row in rows)
    assert [row[2] for row in rows] == ["0 -> 0 %", "0 -> 0 %", "0 -> 50 %", "50 -> 100 %", "100 -> 100 %"]


def test_every_verdict_of_the_history_is_made_again_from_its_record_alone(
    told: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    judged = [line for line in told[1] if line["judged"] is not None]
    assert judged
    for line in judged:
        assert line["judged"]["route_generation"] > 0
        again = replayed(json.loads(json.dumps(line)))
        assert again.same
        assert again.text.startswith("replayed: pass, the same")


def test_a_record_whose_numbers_were_changed_gives_another_verdict(
    told: tuple[dict[str, Any], list[dict[str, Any]]],
) -> None:
    line = json.loads(json.dumps(next(line for line in told[1] if line["judged"] is not None)))
    line["judged"]["candidate"]["failed"] = line["judged"]["candidate"]["requests"]
    assert not replayed(line).same
    line["judged"]["terms"]["weight_percent"] += 1
    with pytest.raises(IntegrityError, match="terms_sha256"):
        replayed(line)
    with pytest.raises(IntegrityError, match="cannot be read"):
        replayed({"at": 1.0, "judged": {"terms": {}}})


@pytest.mark.anyio
async def test_a_rollout_is_explained_and_planned_over_rest() -> None:
    async with ControlPlane(repository=FakeRepository(digits=[1])) as world:
        await world.serve()
        world.repository.published["digits"] = [1, 2]
        app = rest_app(world.operations, world.overview, world.insight, world.metrics)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://c") as client:
            await world.tick(15)
            asked = {"model": "digits", "version": 2, "steps": [{"weight_percent": 50, "duration_s": 5}]}
            planned = (await client.post("/v1/plans", json=asked)).json()
            assert planned["requests_per_s"] == pytest.approx(2 * world.per_tick, rel=0.2)
            assert planned["enough"]
            assert planned["steps"][0]["seconds"] >= 5
            assert (await client.post("/v1/plans", json=asked | {"model": "none"})).status_code == 404
            await client.post("/v1/rollouts", json=asked)
            await world.tick(6)
            told = (await client.get("/v1/rollouts/digits-1/explanation")).json()
            text = "\n".join(told["lines"])
            assert "Version 2 gets 50 % of the traffic and is compared with version 1." in text
            assert "Neither harm nor its absence is shown yet" in text
            assert told["forecast"]["outcome"] == "pass"
            seconds, ticks = told["forecast"]["seconds"], 0
            while (await world.rollout("digits-1")).phase.weighted:
                await world.tick()
                ticks += 1
            assert 0.5 * seconds - 2 <= ticks <= 2 * seconds + 2
            over = "\n".join((await client.get("/v1/rollouts/digits-1/explanation")).json()["lines"])
            assert "progressing -> promoting, weight 50 % -> 100 %, by controller" in over
            assert "requests of the candidate" in over


@pytest.mark.parametrize(
    ("option", "words"), [("--strategy", "canary|blue-green|shadow|ab"), ("--on-inconclusive", "abort|pause")]
)
def test_choices_are_offered_by_the_names_that_the_api_has(option: str, words: str) -> None:
    told = CliRunner().invoke(rollout, ["start", "--help"], terminal_width=200).output
    assert f"{option} [{words}]" in told


def test_the_flags_of_an_ab_test_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rollout.yaml"
    file.write_text(
        "model: digits\nversion: 2\nstrategy: ab\nsteps: [{weight_percent: 30}]\n"
        "experiment: {outcome: {name: clicked}, min_lift: 0.1, min_outcomes: 7}\n"
    )
    said = body(model=None, version=None, file=file, arms=("4:25", "5:10"), min_lift="2%", min_runtime="2h")
    assert said["steps"] == [{"weight_percent": 30, "duration_s": 7200.0}]
    assert said["experiment"] == {
        "outcome": {"name": "clicked"},
        "arms": [{"version": 4, "weight_percent": 25}, {"version": 5, "weight_percent": 10}],
        "min_lift": 0.02,
        "min_outcomes": 7,
    }


@pytest.mark.parametrize("strategy", [None, "canary", "blue-green", "shadow"])
def test_the_runtime_of_an_ab_test_leaves_the_steps_of_no_other_strategy_out(
    strategy: str | None, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"--min-runtime .* A/B test"):
        body(strategy=strategy, min_runtime="1h")
    file = tmp_path / "rollout.yaml"
    file.write_text("strategy: ab\n")
    assert body(file=file, min_runtime="1h")["steps"] == [{"weight_percent": 50, "duration_s": 3600.0}]
    with pytest.raises(ConfigurationError, match="the strategy is shadow"):
        body(file=file, strategy="shadow", min_runtime="1h")


def test_a_command_that_is_proposed_asks_for_what_its_numbers_were_worked_out_from() -> None:
    shadow = RolloutSpec(
        "digits",
        3,
        Strategy.SHADOW,
        steps=(Step(0, 90.5, 100, 40),),
        analysis=AnalysisConfig(max_p99_ratio=2.0, slow_s=0.25, false_rollback_bound=1e-9),
        max_step_duration_s=30 * 86_400.0,
        memory=MemoryTerms(leak_check=LeakCheck.REQUIRE, window_s=900.0),
    )
    canary = RolloutSpec("digits", 3, steps=(Step(1, 0.25, 7), Step(60, 60, 200, 5)))
    for spec in (shadow, canary, RolloutSpec("digits", 3)):
        words = shlex.split(start_command(spec))
        assert words[:3] == ["penstock", "rollout", "start"]
        asked = start.make_context("start", words[3:]).params
        for name in ("url", "actor", "request_id"):
            del asked[name]
        assert RolloutModel.model_validate(body_of(**asked)).spec() == spec


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("clicked", {"name": "clicked"}),
        ("clicked:share", {"name": "clicked", "kind": "share"}),
        ("complained:share:lower", {"name": "complained", "kind": "share", "better": "lower"}),
        ("spent:value:0:500", {"name": "spent", "kind": "value", "low": 0.0, "high": 500.0}),
    ],
)
def test_an_outcome_is_read_from_a_flag(text: str, outcome: dict[str, Any]) -> None:
    assert body(strategy="ab", outcome=text)["experiment"] == {"outcome": outcome}


@pytest.mark.parametrize(
    "wrong", [{"arms": ("4",)}, {"outcome": "a:b:c"}, {"min_lift": "much"}, {"min_runtime": "long"}]
)
def test_a_wrong_flag_of_an_ab_test_is_refused_with_an_example(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="for example"):
        body(strategy="ab", **wrong)
