"""The search finds what an exhaustive sweep finds, nearly, for a third of its trials; whatever the model's knee is."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.tune.configuration import Configuration, Space
from loadtest.tune.goodput import RESOLUTION, Goodput, find_goodput
from loadtest.tune.search import Found, Search
from loadtest.tune.target import Slo
from services.core.errors import ConfigurationError
from tests.fakes.simulated_serving import SimulatedModel

SPACE = Space((1, 2, 4), (1, 2, 4, 8, 16, 32), (0, 500, 2_000, 5_000), ("none", "full"))
START = Configuration(1, 8, 500, "none")
WITHIN = 0.9


def searched(model: SimulatedModel, slo: Slo, *, exhaustive: bool = False, trials: int = len(SPACE) // 3) -> Found:
    """Search, or measure everything."""

    async def measure(configuration: Configuration, to_beat: float) -> float:
        async def offer(rate: float):  # type: ignore[no-untyped-def]
            return model.offer(configuration, rate, slo)

        if configuration in model.fails:
            return 0.0
        return (await find_goodput(offer, 100.0, 1.0, to_beat)).rate

    search = Search(SPACE, measure, len(SPACE) if exhaustive else trials)
    return asyncio.run(search.sweep() if exhaustive else search.run(START))


@pytest.mark.parametrize(
    ("base_ms", "row_ms", "cores", "bound_ms"),
    list(itertools.product((0.5, 5.0), (0.05, 1.0), (1, 4), (20.0, 60.0))),
)
def test_the_search_comes_within_a_tenth_of_the_sweep_for_a_third_of_its_trials(
    base_ms: float, row_ms: float, cores: int, bound_ms: float
) -> None:
    slo = Slo(0.99, bound_ms / 1e3)
    best = searched(SimulatedModel(base_ms / 1e3, row_ms / 1e3, cores), slo, exhaustive=True)
    found = searched(SimulatedModel(base_ms / 1e3, row_ms / 1e3, cores), slo)
    assert found.best is not None
    assert found.trials <= len(SPACE) / 3
    assert found.rate >= WITHIN * best.rate


def test_a_model_that_never_keeps_the_slo_has_no_best() -> None:
    found = searched(SimulatedModel(0.050, 0.001, 2), Slo(0.99, 0.020))
    assert (found.best, found.rate) == (None, 0.0)


def test_what_does_not_load_is_passed_over() -> None:
    model = SimulatedModel(0.005, 0.0001, 2, fails=frozenset(one for one in SPACE.all() if one.instances > 1))
    found = searched(model, Slo(0.99, 0.050))
    assert found.best is not None
    assert found.best.instances == 1


def test_a_search_that_runs_out_of_trials_says_so() -> None:
    found = searched(SimulatedModel(0.005, 0.0001, 4), Slo(0.99, 0.050), trials=3)
    assert (found.trials, found.exhausted) == (3, True)


def test_one_that_cannot_win_costs_one_window() -> None:
    model = SimulatedModel(0.005, 0.001, 1)
    slow = Configuration(1, 1, 0, "none")

    async def measured() -> Goodput:
        async def offer(rate: float):  # type: ignore[no-untyped-def]
            return model.offer(slow, rate, Slo(0.99, 0.050))

        return await find_goodput(offer, 100.0, 1.0, to_beat=10_000.0)

    goodput = asyncio.run(measured())
    assert (goodput.beaten, goodput.rate, len(goodput.windows)) == (True, 0.0, 1)


@settings(max_examples=60)
@given(knee=st.floats(2.0, 20_000.0), start=st.floats(1.0, 50_000.0))
def test_the_knee_is_found_from_wherever_it_begins(knee: float, start: float) -> None:
    from loadtest.tune.goodput import Window

    async def offer(rate: float) -> Window:
        return Window(rate, 1000, 0 if rate <= knee else 900, 10, 0.01)

    goodput = asyncio.run(find_goodput(offer, start, 0.5))
    assert knee / RESOLUTION <= goodput.rate <= knee
    assert len(goodput.windows) < 40


def test_a_space_is_checked_and_counted() -> None:
    assert len(SPACE) == len(SPACE.all()) == 144
    with pytest.raises(ConfigurationError, match="instances"):
        Space((), (1,), (0,))
    with pytest.raises(ConfigurationError, match="max_batch"):
        Space((1,), (1, 1), (0,))
    assert SPACE.nearest(Configuration(3, 100, 600, "halves")) == Configuration(2, 32, 500, "none")
    assert SPACE.moved(START, "instances", -1) is None
