"""Which requests get a copy, and how a silent version is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.mirror import Mirror
from services.gateway.metrics.mirror_series import MirrorSeries
from services.gateway.metrics.recorder import Recorder
from services.gateway.metrics.slab import SlabWriter, create_slab_file
from services.gateway.mirroring.lane import Lane
from services.gateway.mirroring.selection import Kind, Selection


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 3000))
def test_of_any_number_of_requests_the_share_is_chosen_give_or_take_a_few(
    percent: int, floor_percent: int, requests: int
) -> None:
    mirror, selection = Mirror(2, percent, floor_percent), Selection()
    kinds = [selection.pick(mirror) for _ in range(requests)]
    chosen = requests - kinds.count(None)
    assert abs(chosen - requests * percent / 100) <= 4
    assert abs(kinds.count(Kind.FLOOR) - chosen * floor_percent / 100) <= 4


@pytest.mark.parametrize("rhythm", range(2, 12))
def test_a_rhythm_of_the_traffic_does_not_fall_in_with_the_choice(rhythm: int) -> None:
    mirror, selection = Mirror(2, 50, 50), Selection()
    kinds = [selection.pick(mirror) for _ in range(rhythm * 1000)]
    for phase in range(rhythm):
        mine = kinds[phase::rhythm]
        assert 450 <= 1000 - mine.count(None) <= 550
        assert 200 <= mine.count(Kind.FLOOR) <= 300


def test_nobody_and_everybody() -> None:
    selection = Selection()
    assert {selection.pick(Mirror(2, 0, 100)) for _ in range(1000)} == {None}
    assert {selection.pick(Mirror(2, 100)) for _ in range(1000)} == {Kind.MIRROR}
    assert {selection.pick(Mirror(2, 100, 100)) for _ in range(1000)} == {Kind.FLOOR}


@pytest.fixture
def series(tmp_path: Path) -> MirrorSeries:
    create_slab_file(tmp_path / "slab")
    return MirrorSeries(Recorder(SlabWriter(tmp_path / "slab")), "m", 1, 2)


def test_a_version_that_is_silent_again_and_again_rests_longer_each_time_and_then_gets_one_copy(
    series: MirrorSeries,
) -> None:
    lane = Lane("m", 1, 2, series, 4)
    for _ in range(3):
        lane.timed_out(100.0)
    assert not lane.rests(100.0)
    rests = []
    for _ in range(12):
        lane.timed_out(100.0)
        rests.append(next(s for s in (*range(1, 70),) if not lane.rests(100.0 + s)))
    assert rests[:3] == [1, 2, 4]
    assert rests[-1] == 60
    places = []
    for in_flight in (0, 1):
        lane.in_flight = in_flight
        places.append(lane.has_place)
    lane.heard()
    assert [*places, lane.has_place] == [True, False, True]


def test_of_the_noise_floor_there_is_one_copy_at_a_time(series: MirrorSeries) -> None:
    lane, places = Lane("m", 1, 1, series, 16), []
    for in_flight in (0, 1):
        lane.in_flight = in_flight
        places.append(lane.has_place)
    assert places == [True, False]
