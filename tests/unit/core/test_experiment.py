"""What an A/B test may ask for, and who gets its traffic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.gateways.wire import table_message
from services.controller.storage.documents import decode_route, encode_route
from services.core.errors import InvalidRequest
from services.core.rollouts.experiment import Experiment, OutcomeKind, OutcomeSpec
from services.core.rollouts.feedback import Feedback
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout_spec import RolloutSpec, Step, Strategy
from services.core.route import BUCKETS, Arm, Role, Route, RouteTable
from services.gateway.control.messages import table_from

CLICKED = OutcomeSpec("clicked")


def spec(weight: int = 30, *arms: Arm, version: int = 2) -> RolloutSpec:
    return RolloutSpec("m", version, Strategy.AB, (Step(weight),), experiment=Experiment(CLICKED, arms))


@given(st.integers(1, 40), st.lists(st.integers(1, 19), max_size=3))
def test_each_arm_owns_its_share_and_stable_the_rest(weight: int, shares: list[int]) -> None:
    arms = tuple(Arm(3 + place, share) for place, share in enumerate(shares))
    route = Route("m", 1, 2, weight, frozenset(range(1, 9)), arms=arms)
    owners = [route.pick(bucket) for bucket in range(BUCKETS)]
    for version, share in ((2, weight), *((arm.version, arm.weight_percent) for arm in arms)):
        assert owners.count((version, Role.CANDIDATE)) == share * 100
    assert owners.count((1, Role.STABLE)) == BUCKETS - 100 * (weight + sum(shares))


def test_a_route_with_arms_is_the_same_at_the_gateway_and_in_the_store() -> None:
    route = Route("m", 1, 2, 30, frozenset({1, 2, 3}), arms=(Arm(3, 20),), experiment=True)
    table = RouteTable(4, {"m": route}, {"m": 3})
    assert table_from(table_message(table)) == table
    assert decode_route(encode_route(route)) == route


def test_a_route_that_was_stored_before_there_were_arms_has_none() -> None:
    old = '{"model":"m","stable":1,"candidate":2,"weight_percent":5,"versions":[1,2],"mirror":null}'
    assert decode_route(old) == Route("m", 1, 2, 5, frozenset({1, 2}))


@pytest.mark.parametrize(
    ("weight", "arms", "words"),
    [
        (50, (Arm(3, 50),), "99 percent at most|99 at most"),
        (30, (Arm(1, 20),), "each once"),
        (30, (Arm(3, 0),), "1 or more"),
    ],
)
def test_a_route_whose_arms_make_no_sense_is_refused(weight: int, arms: tuple[Arm, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Route("m", 1, 2, weight, frozenset({1, 2, 3}), arms=arms)


@pytest.mark.parametrize(
    ("weight", "arms", "words"),
    [
        (50, (Arm(3, 50),), "stable keeps a share"),
        (30, (Arm(2, 20),), "each once"),
        (30, (Arm(3, 20), Arm(3, 20)), "each once"),
    ],
)
def test_a_rollout_whose_arms_make_no_sense_is_refused(weight: int, arms: tuple[Arm, ...], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        spec(weight, *arms)


def test_an_ab_test_needs_an_outcome_and_others_have_none() -> None:
    with pytest.raises(InvalidRequest, match="clicked:share"):
        RolloutSpec("m", 2, Strategy.AB, (Step(50),))
    with pytest.raises(InvalidRequest, match="strategy ab"):
        RolloutSpec("m", 2, experiment=Experiment(CLICKED))


@pytest.mark.parametrize("steps", [(Step(5), Step(25)), (Step(0, mirror_percent=10),), (Step(30, mirror_percent=10),)])
def test_an_ab_test_has_one_step_without_a_mirror(steps: tuple[Step, ...]) -> None:
    with pytest.raises(InvalidRequest, match=r"one step|no mirror"):
        RolloutSpec("m", 2, Strategy.AB, steps, experiment=Experiment(CLICKED))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Clicked!"},
        {"name": "n", "low": 1.0},
        {"name": "n", "kind": OutcomeKind.VALUE, "low": -1.0, "high": 1.0},
        {"name": "n", "kind": OutcomeKind.VALUE, "low": 2.0, "high": 2.0},
        {"name": "n", "kind": OutcomeKind.VALUE, "high": float("inf")},
    ],
)
def test_an_outcome_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match=r"expected|has bounds"):
        OutcomeSpec(**wrong)  # type: ignore[arg-type] # that is what is tested


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan"), float("inf")])
def test_a_share_is_zero_or_one(value: float) -> None:
    with pytest.raises(InvalidRequest, match="0 or 1"):
        CLICKED.scaled(value)


@pytest.mark.parametrize("value", [-0.1, 50.1, float("nan"), float("inf")])
def test_a_value_is_within_its_bounds(value: float) -> None:
    spent = OutcomeSpec("spent", OutcomeKind.VALUE, 0.0, 50.0)
    assert spent.raw(spent.scaled(12.5)) == 12.5
    with pytest.raises(InvalidRequest, match="from 0 to 50"):
        spent.scaled(value)


@pytest.mark.parametrize("request_id", ["", "x" * 201, "a\0b"])
def test_an_id_that_no_database_keeps_is_refused(request_id: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 200"):
        Feedback(request_id, 1, "clicked", 1.0)


@given(st.lists(st.floats(0, 1), max_size=50))
def test_the_deviation_is_of_what_was_expected_before_each_outcome(values: list[float]) -> None:
    totals, deviation = Totals(), 0.0
    for count, value in enumerate(values):
        deviation += (value - (0.5 + sum(values[:count])) / (1 + count)) ** 2
        totals = totals.with_outcome(value)
    assert totals.count == len(values)
    assert totals.total == pytest.approx(sum(values))
    assert totals.deviation == pytest.approx(deviation)
