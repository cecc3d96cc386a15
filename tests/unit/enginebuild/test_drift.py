"""The drift reference describes the held-out data well enough to tell other data from it."""

import numpy as np
import pytest
from enginebuild.datatypes import Arrays
from enginebuild.drift import BINS, MOST_VALUES, drift_reference, sketch

from tests.fakes import tiny_recipe


def test_a_smooth_distribution_has_ten_equal_bins() -> None:
    values = np.random.default_rng(0).normal(3, 2, 10_000).astype(np.float32)
    found = sketch(values)
    assert len(found.shares) == BINS
    assert found.shares == pytest.approx([0.1] * BINS, abs=2e-3)
    assert (found.mean, found.deviation) == pytest.approx((3, 2), rel=0.02)


@pytest.mark.parametrize(
    ("values", "edges", "shares"),
    [
        ([5.0] * 9, (), (1.0,)),
        ([0.0] * 95 + [1.0] * 5, (0.0,), (0.95, 0.05)),
        ([0, 1, 2], (0.0, 1.0), (1 / 3, 1 / 3, 1 / 3)),
        ([True, False], (0.0,), (0.5, 0.5)),
        ([1.0, np.nan, np.inf], (), (1.0,)),
        ([np.nan], (), (0.0,)),
    ],
)
def test_few_values_make_few_bins(values: list[float], edges: tuple[float, ...], shares: tuple[float, ...]) -> None:
    found = sketch(np.array(values))
    assert found.edges == edges
    assert found.shares == pytest.approx(shares)


def test_a_large_array_is_drawn_from() -> None:
    values = np.random.default_rng(0).normal(3, 2, 2_500_001).astype(np.float32)
    found = sketch(values)
    assert found.count == MOST_VALUES
    assert found == sketch(values)
    assert (found.mean, found.deviation) == pytest.approx((3, 2), rel=0.01)
    assert sketch(np.zeros((0, 3))).count == 0


def test_inputs_outputs_and_confidence_are_described() -> None:
    inputs: Arrays = {"left": np.ones((4, 4)), "right": np.zeros((4, 4))}
    outputs: Arrays = {"scores": np.array([[0.0, 0], [0, 0], [9, 0], [0, 9]]), "difference": np.zeros((4, 1))}
    found = drift_reference(tiny_recipe.recipe(), inputs, outputs)
    assert set(found.inputs) == {"left", "right"}
    assert set(found.outputs) == {"scores", "difference"}
    assert found.confidence["scores"].edges == (0.5,)
