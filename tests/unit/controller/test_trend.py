import pytest

from services.controller.events.trend import Trend
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally


def tally(requests: int, failed: int = 0, seconds: float = 0.01) -> Tally:
    latency = LatencyHistogram()
    latency.observe(seconds, requests - failed)
    return Tally(requests, failed, 0, latency)


def filled(ticks: int, max_points: int = 8) -> Trend:
    trend = Trend(0, max_points)
    for tick in range(ticks):
        trend.add(1000.0 + tick, tally(100 * tick, 10 * tick), tally(50 * tick))
    return trend


def test_a_point_is_what_was_answered_since_the_last() -> None:
    points = filled(4).points
    assert [point.at for point in points] == [1001.0, 1002.0, 1003.0]
    assert {(point.stable.requests, point.stable.bad, point.candidate.requests) for point in points} == {(100, 10, 50)}
    assert points[0].stable.bad_share == pytest.approx(0.1)
    assert points[0].candidate.p99_s == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("ticks", [8, 20, 500, 5000])
def test_points_are_bounded_and_lose_no_answer_but_those_since_the_last(ticks: int) -> None:
    points = filled(ticks).points
    assert 4 <= len(points) < 8
    assert sum(point.stable.requests for point in points) == 100 * round(points[-1].at - 1000.0)
    assert points[-1].at >= 1000.0 + ticks * 0.6, "it covers the step, not its beginning"


def test_a_peak_stays_when_neighbours_become_one() -> None:
    trend, total = Trend(0, 8), tally(100)
    for tick in range(200):
        total += tally(100, 0, 0.5 if tick == 3 else 0.01)
        trend.add(float(tick), total, total)
    assert max(point.stable.p99_s or 0.0 for point in trend.points) == pytest.approx(0.5, rel=0.02)


def test_rates_are_those_of_the_last_minute() -> None:
    assert Trend(0).rates() is None
    assert filled(1).rates() is None
    rates = filled(500).rates()
    assert rates is not None
    assert rates == pytest.approx((100.0, 50.0))
    trend = filled(100)
    for tick in range(100, 200):
        trend.add(1000.0 + tick, tally(9900), tally(4950))
    assert trend.rates() == (0.0, 0.0)
