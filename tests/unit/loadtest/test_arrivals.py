"""Arrivals wait for nobody; what waits for a connection waits in order, in a backlog with a bound."""

from loadtest.arrivals import Arrival, Arrivals


def arrivals(*offsets: float, max_backlog: int = 100) -> tuple[Arrivals, list[Arrival]]:
    dropped: list[Arrival] = []
    one = Arrivals(iter(offsets), max_backlog, dropped.append)
    one.start(100.0)
    return one, dropped


def test_a_free_connection_gets_the_next_arrival_before_it_is_due() -> None:
    one, _ = arrivals(1.0, 2.0)
    assert one.take(100.0) == Arrival(0, 101.0)
    assert one.take(100.0) == Arrival(1, 102.0)
    assert one.take(100.0) is None


def test_arrivals_that_came_due_meanwhile_are_taken_in_order_with_their_intended_times() -> None:
    one, _ = arrivals(1.0, 2.0, 3.0, 9.0)
    assert one.take(105.0) == Arrival(0, 101.0, overdue=True)
    assert one.take(105.5) == Arrival(1, 102.0, overdue=True)
    assert one.take(106.0) == Arrival(2, 103.0, overdue=True)
    assert one.take(106.0) == Arrival(3, 109.0)


def test_the_backlog_is_bounded_and_what_does_not_fit_is_counted() -> None:
    one, dropped = arrivals(*(float(n) for n in range(1, 11)), max_backlog=3)
    assert one.take(110.5) == Arrival(0, 101.0, overdue=True)
    assert one.backlog == 2
    assert [arrival.index for arrival in dropped] == [3, 4, 5, 6, 7, 8, 9]


def test_a_backlog_of_none_drops_whatever_finds_no_free_connection() -> None:
    one, dropped = arrivals(1.0, 2.0, 8.0, max_backlog=0)
    assert one.take(103.0) == Arrival(2, 108.0)
    assert [arrival.index for arrival in dropped] == [0, 1]


def test_after_the_end_the_backlog_is_still_handed_out_and_nothing_new_happens() -> None:
    one, dropped = arrivals(1.0, 2.0, 8.0, 9.0)
    early = one.take(100.0)
    assert early == Arrival(0, 101.0)
    one.end(105.0)
    assert one.take(105.0) == Arrival(1, 102.0, overdue=True)
    assert one.take(105.0) is None
    assert dropped == []


def test_an_arrival_that_was_taken_early_does_not_happen_after_the_end() -> None:
    one, _ = arrivals(1.0, 8.0)
    first, second = one.take(100.0), one.take(100.0)
    assert first is not None
    assert second is not None
    one.end(105.0)
    assert one.happens(first)
    assert not one.happens(second)


def test_what_is_abandoned_is_counted_and_only_the_first_end_counts() -> None:
    one, dropped = arrivals(1.0, 2.0, 3.0)
    one.end(102.5)
    one.end(110.0)
    one.abandon()
    assert [arrival.index for arrival in dropped] == [0, 1]
    assert one.take(120.0) is None
