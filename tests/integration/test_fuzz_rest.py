"""Bytes that no client should send over HTTP/1.1: refused or hung up on, and nothing of them stays.

Set ``FUZZ_SEED`` for other ones and ``FUZZ=10`` for ten times as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.differential.lab import zoo
from tests.fakes import aio
from tests.fakes.running_triton import RunningTriton
from tests.fuzz import http1
from tests.fuzz.watched import Watched, Work, leaves_nothing, rounds, seeded, watched

pytestmark = pytest.mark.integration

# Of a gateway of about 90 MiB, over 1,000 rounds of some 1 to 500 requests each.
_GROWTH_MIB = 6.0
_IN_PIECES, _GONE = 0.3, 0.15


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    with zoo(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


@pytest.mark.parametrize("kind", sorted({kind.__name__ for kind in http1.KINDS}))
def test_malformed_http_is_no_fault_of_the_gateway_and_leaves_nothing(
    triton: RunningTriton, tmp_path: Path, kind: str
) -> None:
    chance, make, seen = seeded(kind), getattr(http1, kind), Counter[int]()

    def part(watch: Watched) -> Iterator[Work]:
        for _ in range(rounds(500)):
            data, pieces, gone = make(chance), chance.random() < _IN_PIECES, chance.random() < _GONE
            yield partial(http1.send, watch.rest_port, data, seen, pieces=pieces, gone=gone)

    async def fuzz() -> None:
        async with watched(triton, tmp_path) as watch:
            await leaves_nothing(watch, lambda: part(watch), _GROWTH_MIB)

    aio.run(fuzz(), timeout_s=250.0)
    print(dict(seen))
    assert sum(count for status, count in seen.items() if 400 <= status < 500) > rounds(500), (
        "most are refused in words"
    )
