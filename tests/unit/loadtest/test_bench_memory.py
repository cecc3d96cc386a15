"""Memory is called flat or growing only where the samples leave no doubt."""

import numpy as np
import pytest

from loadtest.bench.memory import FLAT, GROWING, LOOKS, MIB, OPEN, growth, sentences
from services.core.errors import PenstockError

REQUESTS = list(range(10_000, 1_010_000, 10_000))


def resident(per_million_mib: float, noise_mib: float, *, walk: bool = False) -> list[int]:
    """A worker of 90 MiB that grows, with noise that is independent or a random walk back to its mean."""
    random = np.random.default_rng(7)
    noise = random.normal(0, noise_mib, len(REQUESTS))
    if walk:
        for i in range(1, len(noise)):
            noise[i] += 0.95 * noise[i - 1]
    return [int((90 + per_million_mib * x / 1e6 + e) * MIB) for x, e in zip(REQUESTS, noise, strict=True)]


def test_a_million_requests_make_enough_looks() -> None:
    assert len(REQUESTS) == LOOKS


@pytest.mark.parametrize(
    ("per_million_mib", "noise_mib", "verdict"),
    [(0.0, 0.3, FLAT), (2.0, 0.3, FLAT), (20.0, 0.3, GROWING), (5.0, 3.0, OPEN)],
)
def test_the_verdict_follows_the_whole_interval(per_million_mib: float, noise_mib: float, verdict: str) -> None:
    found = growth(REQUESTS, resident(per_million_mib, noise_mib))
    assert found.least <= found.slope <= found.most
    assert found.verdict == verdict


def test_memory_that_never_moves_is_flat() -> None:
    found = growth(REQUESTS, [90 * MIB] * len(REQUESTS))
    assert found.slope == pytest.approx(0.0, abs=1e-3)
    assert found.verdict == FLAT


def test_a_first_jump_is_warm_up_and_not_growth() -> None:
    jump = [40 * MIB if x < 150_000 else 90 * MIB for x in REQUESTS]
    assert growth(REQUESTS, jump).verdict == FLAT


def test_drifting_samples_are_trusted_less_than_independent_ones() -> None:
    drifting = growth(REQUESTS, resident(0.0, 0.3, walk=True))
    independent = growth(REQUESTS, resident(0.0, 0.3))
    assert drifting.most - drifting.least > 5 * (independent.most - independent.least)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        noise = random.normal(0, 0.5, len(REQUESTS))
        found = growth(REQUESTS, [int((90 + 3 * x / 1e6 + e) * MIB) for x, e in zip(REQUESTS, noise, strict=True)])
        hits += found.least <= 3 * MIB <= found.most
    assert hits >= 370


def test_too_few_samples_are_an_error() -> None:
    with pytest.raises(PenstockError, match="send more"):
        growth(REQUESTS[:10], [MIB] * 10)


def test_the_words_name_every_worker_and_the_bound() -> None:
    found = growth(REQUESTS, resident(0.0, 0.1))
    worker = {
        "first_bytes": found.first_bytes, "last_bytes": found.last_bytes, "slope": found.slope, "least": found.least,
        "most": found.most, "verdict": found.verdict,
    }  # fmt: skip
    text = sentences({"requests": REQUESTS, "workers": [worker, worker], "verdict": FLAT})
    assert "worker 2: 89.8 -> 89.8 MiB" in text
    assert "1,000,000 requests" in text
    assert text.rstrip().endswith("at most 5 MiB per million: flat")
