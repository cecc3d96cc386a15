"""A ratio of times that were taken in turns, so that a busy neighbour slows both sides alike."""

from collections.abc import Callable

import pytest
from enginebuild.measure.speed import compare


class Machine:
    """A clock that moves on only when something runs on it; ``load`` slows everything down."""

    def __init__(self) -> None:
        self.now = 0.0
        self.load = 1.0
        self.order: list[str] = []

    def clock(self) -> float:
        return self.now

    def program(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.now += seconds * self.load
            self.order.append(name)

        return run


def test_the_speedup_is_the_baselines_time_over_the_others() -> None:
    machine = Machine()
    timings = compare(
        {"fp32": machine.program("fp32", 0.004), "int8": machine.program("int8", 0.001)}, "fp32", clock=machine.clock
    )
    assert timings["int8"].ratio == pytest.approx(4)
    assert timings["int8"].seconds == pytest.approx(0.001)
    assert timings["fp32"].ratio == timings["fp32"].ratio_low == timings["fp32"].ratio_high == 1


def test_a_machine_that_gets_slower_all_the_time_does_not_change_the_ratio() -> None:
    machine = Machine()
    slow, fast = machine.program("fp32", 0.02), machine.program("int8", 0.01)

    def drifting(run: Callable[[], None]) -> Callable[[], None]:
        def wrapped() -> None:
            machine.load *= 1.05
            run()

        return wrapped

    timings = compare({"fp32": drifting(slow), "int8": drifting(fast)}, "fp32", rounds=20, clock=machine.clock)
    assert timings["int8"].ratio == pytest.approx(2, rel=0.05)
    assert timings["int8"].ratio_low < timings["int8"].ratio < timings["int8"].ratio_high


def test_one_round_in_bad_company_does_not_move_the_median() -> None:
    machine = Machine()
    calls = 0

    def sometimes_slow() -> None:
        nonlocal calls
        calls += 1
        machine.now += 1.0 if calls == 30 else 0.02

    timings = compare(
        {"fp32": machine.program("fp32", 0.02), "int8": sometimes_slow}, "fp32", rounds=40, clock=machine.clock
    )
    assert timings["int8"].ratio == pytest.approx(1)


def test_the_two_take_turns_in_changing_order() -> None:
    machine = Machine()
    runs = {"fp32": machine.program("fp32", 0.02), "int8": machine.program("int8", 0.02)}
    compare(runs, "fp32", rounds=4, clock=machine.clock)
    assert machine.order[-8:] == ["fp32", "int8", "int8", "fp32"] * 2


def test_a_run_too_short_for_the_clock_is_repeated_within_one_measurement() -> None:
    machine = Machine()
    compare({"fp32": machine.program("fp32", 1e-5)}, "fp32", rounds=2, clock=machine.clock)
    assert machine.now == pytest.approx(2 * 0.01, rel=0.05)
