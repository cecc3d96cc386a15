"""The same request sent to a bare Triton and through the gateway: the same answer, apart from a table of differences.

Two Tritons have the same models, so that what one side does to its state does not show on the other. Requests are
generated from a fixed seed; ``DIFFERENTIAL=10`` sends ten times as many, from a new one. A failure prints the
smallest request that shows it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.differential import asks, grpc_forms, rest, scripts
from tests.differential.amendments import Request
from tests.differential.lab import Lab, lab
from tests.differential.rules import RULES, Rule, expected, same
from tests.differential.spoil import spoilt
from tests.differential.survivable import survivable

pytestmark = pytest.mark.integration

_FACTOR = float(os.environ.get("DIFFERENTIAL", "1"))
_mixed = spoilt(asks.valid)

# How many examples of each family; some are several requests.
FAMILIES: dict[str, tuple[int, st.SearchStrategy[Any]]] = {
    "json": (200, rest.inference(asks.valid, binary=False, damaged=False)),
    "json, spoilt": (200, rest.inference(_mixed, binary=False, damaged=False)),
    "json, damaged": (250, rest.inference(asks.valid, binary=False, damaged=True)),
    "binary": (200, rest.inference(asks.valid, binary=True, damaged=False)),
    "binary, spoilt": (200, rest.inference(_mixed, binary=True, damaged=False)),
    "binary, damaged": (250, rest.inference(asks.valid, binary=True, damaged=True)),
    "raw bodies": (80, scripts.raw_bodies()),
    "grpc raw": (150, grpc_forms.inference(asks.valid, raw=True, damaged=False)),
    "grpc raw, spoilt": (150, grpc_forms.inference(_mixed, raw=True, damaged=False)),
    "grpc raw, damaged": (200, grpc_forms.inference(asks.valid, raw=True, damaged=True)),
    "grpc typed": (150, grpc_forms.inference(asks.valid, raw=False, damaged=False)),
    "grpc typed, spoilt": (150, grpc_forms.inference(_mixed, raw=False, damaged=False)),
    "grpc typed, damaged": (200, grpc_forms.inference(asks.valid, raw=False, damaged=True)),
    "grpc streams": (100, scripts.streams()),
    "sequences": (60, scripts.sequences()),
    "decoupled without a stream": (20, scripts.decoupled_without_stream()),
    "rest documents": (250, rest.documents()),
    "grpc documents": (150, grpc_forms.documents()),
}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("differential")) as opened:
        yield opened


def _agree(sides: Lab, request: Request) -> list[str]:
    """Send a request to both sides and return the names of the differences that explain their answers."""
    direct, through = sides.both(request)
    assert not direct.category.startswith("no answer"), f"a bare Triton does not survive {request}: {direct}"
    wanted, used = expected(request, direct, through)
    assert same(wanted, through), f"\nrequest  {request}\ndirect   {direct}\nexpected {wanted}\nthrough  {through}"
    return used


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gateway_answers_as_triton_does_apart_from_the_listed_differences(sides: Lab, family: str) -> None:
    examples, strategy = FAMILIES[family]
    sent, used = 0, Counter[str]()

    @settings(
        max_examples=int(examples * _FACTOR),
        derandomize=_FACTOR == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def send(generated: Any) -> None:
        nonlocal sent
        requests = generated if isinstance(generated, list) else [generated]
        try:
            for request in requests:
                if survivable(request):
                    used.update(_agree(sides, request))
                    sent += 1
        except BaseException:
            for request in requests[-2:]:
                sides.both(request)  # the sequences of an example that fails must not stay
            raise

    send()
    print(f"{family}: {sent} requests; {dict(used)}")
    assert sent >= examples * 0.8


def test_the_families_are_two_thousand_requests() -> None:
    assert sum(examples for examples, _ in FAMILIES.values()) * 0.8 >= 2000


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_listed_difference_is_there(sides: Lab, rule: Rule) -> None:
    assert rule.name in _agree(sides, rule.example)
