"""Sticky, monotone routing."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.mirror import Mirror
from services.core.route import BUCKETS, Role, Route, bucket_of

KEYS = [f"user-{i}" for i in range(20_000)]


def candidate_keys(weight: int) -> set[str]:
    route = Route("m", stable=1, candidate=2, weight_percent=weight)
    return {key for key in KEYS if route.pick(bucket_of("m", key)) == (2, Role.CANDIDATE)}


def test_raising_the_weight_only_adds_keys_and_lowering_it_returns_the_same_keys() -> None:
    shares = [candidate_keys(weight) for weight in (0, 5, 25, 50, 100)]
    for smaller, larger in itertools.pairwise(shares):
        assert smaller < larger
    assert shares[0] == set()
    assert shares[-1] == set(KEYS)
    assert candidate_keys(25) == shares[2]


@pytest.mark.parametrize("weight", [1, 5, 25, 50, 99])
def test_the_share_of_keys_is_the_weight(weight: int) -> None:
    share = len(candidate_keys(weight)) / len(KEYS)
    error = 4 * (weight / 100 * (1 - weight / 100) / len(KEYS)) ** 0.5  # four standard errors
    assert abs(share - weight / 100) < error


def test_two_models_do_not_share_their_unlucky_keys() -> None:
    one = {key for key in KEYS if bucket_of("m", key) < BUCKETS // 2}
    other = {key for key in KEYS if bucket_of("n", key) < BUCKETS // 2}
    assert 0.4 < len(one & other) / len(one) < 0.6


@given(st.text(), st.text())
def test_a_bucket_is_within_bounds_for_any_text(model: str, key: str) -> None:
    assert 0 <= bucket_of(model, key) < BUCKETS


def test_the_bucket_of_a_key_is_the_same_in_every_release() -> None:
    # A changed hash would move every sticky client at once.
    assert [bucket_of("digits_cnn", key) for key in ("a", "b", "user-42")] == [7358, 1447, 2291]


def test_a_mirror_goes_to_a_version_that_is_loaded() -> None:
    assert Route("m", 1, versions=frozenset({1, 2}), mirror=Mirror(2, 100)).mirror == Mirror(2, 100)
    with pytest.raises(ValueError, match="mirrored to version 3"):
        Route("m", 1, versions=frozenset({1, 2}), mirror=Mirror(3, 100))


def test_without_a_candidate_everything_goes_to_stable() -> None:
    route = Route("m", stable=3)
    assert {route.pick(bucket) for bucket in range(0, BUCKETS, 7)} == {(3, Role.STABLE)}


@pytest.mark.parametrize(("candidate", "weight"), [(2, 101), (2, -1), (None, 5)])
def test_an_impossible_weight_is_refused(candidate: int | None, weight: int) -> None:
    with pytest.raises(ValueError, match="weight"):
        Route("m", stable=1, candidate=candidate, weight_percent=weight)
