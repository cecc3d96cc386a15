"""How many requests of one model version are worth having in flight: a limit that finds the knee. Pure; time is given.

The situation decides the algorithm. Triton fills batches, so latency grows with concurrency long before anything
queues, and ever more where batches are large: no level of latency marks the knee. Saturated, in simulation
(``python -m tests.fakes.limit_comparison`` prints it all), the limits of Netflix's concurrency-limits do this:

- Vegas, as every gradient on the least latency, takes a full batch for a queue: 37 to 78 % of the throughput where
  batches matter, and a long queue whenever its minimum was measured in a busy moment;
- Gradient2 compares with its own past, which under lasting overload is a full queue: 77 to 90 %, and twenty times the
  latency on a model without batches, because its least limit, 20, knows nothing of the model;
- AIMD grows until requests time out: full throughput, with a queue in Triton as long as its clients' patience.

What does mark the knee is Little's law: beyond it, more in flight gives no more answers. So this limit experiments. It
alternates between ``base / 1.2`` and ``base * 1.2`` in slots of some four latencies and compares the throughput
(requests in flight over mean latency) of neighbouring slots: the *elasticity*, the share of an increase in concurrency
that comes out as throughput, 1 while batches have room and 0 when requests only queue. Trials are averaged until they
are on one side of ``WORTH`` by their own noise; then the base moves, in growing steps while moves agree. It is
stochastic approximation (Kiefer and Wolfowitz 1952), as in .NET's thread pool (Hellerstein et al. 2009) and in PCC's
paired trials (Dong et al. 2015). A model that turns ten times slower keeps its knee, and so keeps its limit.

Several workers in front of one Triton each have a limit of their own. A worker that tries alone mostly sees what it
takes from the others, and all would grow for ever. Therefore slots follow the common clock: all workers try at once
and see the elasticity of the whole. Growth by the square root of the limit, and a share given back at regular times,
make a large limit shrink more than a small one, so shares even out within minutes. Hosts need clocks
that agree within a slot (0.1 s); otherwise limits err upwards, up to ``most``.

A load that left room in the limit shows what fewer in flight can do. When a full limit brings hardly more answers than
that, the base halves the way back to it at once: experiments would find the same, one full queue after the other.

Limits are fractions, and the limit in force is one of the two whole numbers beside it, each as often as it takes. Of
two workers whose limits of 3.5 and 5 were rounded, one would try a third more while the other tries half more, and each
would take its loss to the other, or its gain from it, for the model's.

The limit moves by requests that filled it; below where it began it comes back there while there is room in it. What it
doubled to at its start, and nobody needed before it could show anything, is taken back.
"""

from __future__ import annotations

import math
from typing import Protocol

from services.core.errors import OK, DeadlineExceeded, Overloaded, status_of
from services.core.limit_slot import Point, Slot

WORTH = 0.06
"""Elasticity at which a higher concurrency is no longer worth its latency: 6 % of it become throughput."""
CLEAR = 0.4
"""Elasticity from which growth is exponential."""
SWING = 1.2
"""The factor between the base and the two limits that are tried."""

_MIN_SLOT_S = 0.1
_START_SLOT_S = 0.025
# Alone it may take from others while it starts: half of all that there is leaves this much for doubling.
_START_CLEAR = 0.65
_START_MOST = 32.0
_START_DOUBTS = 2
# It starts on demand that was there for most of a slot, and trusts a slot's answers this far above their count.
_START_PRESSED = 0.5
_START_SLACK = 1.15
_LATENCIES_PER_SLOT = 3.0
# Requests that entered before the queue in Triton had adapted to a new slot say nothing about it.
_SETTLING_LATENCIES = 0.5
_LEAST_SAMPLES = 4
_LEAST_CONTRAST = 0.1

# A load within the limit and a full limit say where the knee is if they are far apart (in logarithms), the model is not
# slower than it was, and so little of the difference came out as answers.
_FAR = 0.7
_AS_QUICK = 0.05
_HARDLY = 0.15

# How sure a move must be, in standard errors. A limit that is too low loses answers, one that is too high only time.
_SURE_UP = 1.0
_SURE_DOWN = 1.3
# Who knows where to begin needs no large steps, and clearer evidence to go beyond it.
_INFORMED_STEP = 0.35
_SURE_BEYOND = 2.0
_MOST_TRIALS = 8
_LARGEST_STEP = 2.0
_ROOT_STEP = 1.5
_UNDECIDED_STEP = 0.1

_GIVE_EVERY_PAIRS = 8
_GIVE = 0.85

_FIRST_VARIANCE = 0.001
_LEAST_VARIANCE = 0.0001
_SMOOTH_VARIANCE = 0.1
_SMOOTH_LATENCY = 0.05

# Drops: some timeouts are always there, and a client with no patience must not shrink the limit of all. Where most
# requests time out, what is answered at all took nearly as long as its clients wait, so latency is no measure of them.
_DROPS_AT_LEAST = 3
_DROPS_SHARE = 0.2
_DROP_FACTOR = 0.7
_DROP_LATENCIES = 0.7
_RESUME = 0.9

# Requests that hang at a replica fill a limit as well, and teach it to be low. While nothing fills it, it forgets that.
_QUIET_S = 3.0
_FORGET = 1.1

_OK = OK.outcome
_REFUSED = status_of(Overloaded("")).outcome
_TIMED_OUT = status_of(DeadlineExceeded()).outcome


class Limit(Protocol):
    """The most requests in flight. Implementations: ``KneeLimit``, ``FixedLimit``."""

    @property
    def value(self) -> int:
        """The limit in force."""
        ...

    @property
    def reason(self) -> str:
        """Why it is what it is, for a person."""
        ...

    def pressed(self, now: float) -> None:
        """Learn that a request found the limit reached; the clock is that of ``left``."""
        ...

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        """Learn from a request that left.

        Args:
            now: Seconds on a clock that all workers in front of one Triton have in common.
            duration_s: How long it was in flight.
            in_flight: How many were, itself included.
            outcome: ``Status.outcome`` of its error or of ``OK``; others teach nothing.
        """
        ...


class FixedLimit:
    """A limit that somebody chose."""

    __slots__ = ("reason", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        self.reason = "fixed by a setting"

    def pressed(self, now: float) -> None:
        """Learn nothing."""

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        """Learn nothing."""


class KneeLimit:
    """A limit that looks for the concurrency beyond which more in flight does not become more answers.

    Args:
        initial: Where to begin; growing takes less time than shrinking, so rather low.
        least: Never below.
        most: Never above.
        informed: Whether ``initial`` comes from what the model computes at once: more takes clearer evidence then.
    """

    def __init__(self, initial: int = 4, least: int = 2, most: int = 512, *, informed: bool = False) -> None:
        self.reason = "not tried yet"
        self._least, self._most = least, most
        self._base = float(min(most, max(least, initial)))
        self._slot_s = _START_SLOT_S
        self._slot = Slot(-2, 0.0, 0.0)
        self._latency_s = 0.0
        self._points: list[Point] = []
        self._trials: list[float] = []
        self._variance = _FIRST_VARIANCE
        self._repeats = 0
        self._run = 0
        self._before_drops = 0.0
        self._initial = self._base
        self._informed = informed
        self._quiet_since = math.inf
        self._starting = self._base <= _START_MOST
        self._started_from: Point | None = None
        self._doubts = 0
        # What the last load that left room in the limit showed.
        self._within: Slot | None = None
        self._target = self._target_in(0)
        self._carry = 0.0
        self.value = round(self._target)

    @property
    def base(self) -> float:
        """The middle between the limits that are tried."""
        return self._base

    def pressed(self, now: float) -> None:
        """Learn that a request found the limit reached; see ``Limit``."""
        slot = self._slot
        if now >= slot.end:
            slot = self._turn(now)
        slot.pressed += 1

    def left(self, now: float, duration_s: float, in_flight: int, outcome: str) -> None:
        """Learn from a request that left; see ``Limit``."""
        slot = self._slot
        if now >= slot.end:
            slot = self._turn(now)
        if outcome == _OK:
            slot.answers += 1
            slot.most_in_flight = max(slot.most_in_flight, in_flight)
            self._latency_s += (duration_s - self._latency_s) * (_SMOOTH_LATENCY if self._latency_s else 1.0)
            if now - duration_s >= slot.since:
                slot.samples += 1
                slot.latency_s += duration_s
                slot.in_flight += in_flight
        elif outcome == _REFUSED or (outcome == _TIMED_OUT and duration_s > _DROP_LATENCIES * self._latency_s):
            slot.drops += 1
        whole = int(self._target)
        self._carry += self._target - whole
        self.value = whole
        if self._carry >= 1.0:
            self._carry -= 1.0
            self.value = whole + 1

    def _turn(self, now: float) -> Slot:
        """Close the slot that is over and begin the one that is now."""
        self._close(self._slot)
        least_s = _START_SLOT_S if self._starting else _MIN_SLOT_S
        needed_s = max(least_s, _LATENCIES_PER_SLOT * self._latency_s)
        before = self._slot
        if not self._slot_s / 4 <= needed_s <= self._slot_s:
            length_s = _START_SLOT_S * 2.0 ** math.ceil(math.log2(needed_s / _START_SLOT_S))
            if length_s != self._slot_s:
                self._slot_s = length_s
                self._points.clear()
        number = int(now // self._slot_s)
        if number != before.number + 1:
            self._points.clear()
        self._slot = Slot(number, self._slot_s, _SETTLING_LATENCIES * self._latency_s)
        self._target = self._target_in(number)
        return self._slot

    def _target_in(self, number: int) -> float:
        """The lower limit in even slots, the higher one in odd slots."""
        if self._starting:
            return float(round(self._base))
        low = min(float(self._most), max(float(self._least), self._base / SWING))
        return min(float(self._most), low * SWING * SWING) if number & 1 else low

    def _close(self, slot: Slot) -> None:
        """Turn a slot into a point; three in a row, low, high, low, are a trial."""
        if slot.drops >= _DROPS_AT_LEAST and slot.drops > _DROPS_SHARE * (slot.drops + slot.answers):
            self._shrink(slot)
            return
        if self._before_drops and slot.answers >= _LEAST_SAMPLES and not slot.drops:
            self._move(max(self._base, self._before_drops * _RESUME), "no more drops")
            self._before_drops = 0.0
            return
        if slot.samples < _LEAST_SAMPLES or not slot.filled(self._target):
            self._points.clear()
            self._forget(slot)
            if slot.samples >= _LEAST_SAMPLES and not slot.pressed:
                self._within = slot
                self._take_back(slot)
            return
        self._quiet_since = math.inf
        if self._within is not None and self._comes_back(slot.bounded(1.0), self._within.bounded(1.0)):
            return
        if self._starting:
            if slot.pressed >= _START_PRESSED * slot.samples:
                self._start(slot.bounded(_START_SLACK))
        else:
            self._try(slot)

    def _try(self, slot: Slot) -> None:
        """Add a point to the present trial."""
        if slot.number & 1 and not self._points:
            return
        self._points.append(slot.point)
        if len(self._points) == 3 and not slot.number & 1:  # noqa: PLR2004 - low, high, low
            self._compare(slot.number)

    def _forget(self, slot: Slot) -> None:
        """Drift back to where the limit began: where there was room, or when nobody has missed a place for a while."""
        if slot.samples >= _LEAST_SAMPLES:
            if self._base < self._initial:
                self._move(min(self._initial, self._base * _FORGET), "nothing filled it")
            return
        if slot.pressed:
            self._quiet_since = math.inf
        elif math.isinf(self._quiet_since):
            self._quiet_since = slot.end
        elif slot.end - self._quiet_since >= _QUIET_S and self._base < self._initial:
            self._move(min(self._initial, self._base * _FORGET), "nothing filled it")

    def _take_back(self, slot: Slot) -> None:
        """Undo a doubling that nobody needed before it could show anything."""
        before, self._started_from = self._started_from, None
        if before is not None and self._starting and slot.most_in_flight <= self._base / 2:
            self._move(max(self._initial, self._base / 2), "nobody needed twice as many")

    def _comes_back(self, point: Point, within: Point) -> bool:
        """Halve the way back to what a load within the limit had in flight, if that gave nearly as many answers.

        Experiments would find the same, but one after the other, and each takes some of a full queue's latencies.
        """
        contrast, gain = point[0] - within[0], point[1] - within[1]
        if contrast <= _FAR:
            if not self._starting:
                self._within = None  # near enough for experiments, which know more of the present
            return False
        if not -_AS_QUICK <= gain < _HARDLY * contrast:
            return False
        middle = math.exp((point[0] + within[0]) / 2)
        if middle >= self._base:
            return False
        low, high = math.exp(within[0]), math.exp(point[0])
        self._move(middle, f"{high:.0f} in flight gave {math.exp(gain):.2f} times the answers of {low:.0f}")
        self._run = 0
        self._starting = False
        return True

    def _start(self, point: Point) -> None:
        """Double from slot to slot for as long as throughput nearly does, as TCP starts."""
        before, self._started_from = self._started_from, point
        if before is None and self._within is not None:
            before = self._within.point
        if before is not None:
            contrast = point[0] - before[0]
            if point[1] - before[1] < _START_CLEAR * contrast or contrast < _LEAST_CONTRAST:
                self._doubts += 1
                if self._doubts < _START_DOUBTS:
                    self._started_from = before
                    return
                self._starting = False
                self._move(min(self._base, math.sqrt(2) * math.exp(before[0])), "doubling it brought too little")
                return
        self._doubts = 0
        self._move(2 * self._base, "throughput still doubles with it")
        self._starting = self._base < _START_MOST

    def _compare(self, number: int) -> None:
        """Take the elasticity from the last three points; the outer two cancel a drift of the machine."""
        (n0, x0), (n1, x1), (n2, x2) = self._points
        self._points = self._points[-1:]
        if (number >> 1) % _GIVE_EVERY_PAIRS == 0 and self._run <= 1:
            self._move(self._base * _GIVE, "a share given back, so that other workers can have it")
            self._run = 0
            return
        contrast = n1 - (n0 + n2) / 2
        if contrast < _LEAST_CONTRAST:
            return
        if abs(n2 - n0) < _LEAST_CONTRAST:
            self._repeats += 1
            rate = max(_SMOOTH_VARIANCE, 1 / (1 + self._repeats))
            self._variance += rate * ((x2 - x0) ** 2 / 2 - self._variance)
        elasticity = (x1 - (x0 + x2) / 2) / contrast
        self._trials.append(max(-1.0, min(1.5, elasticity)))
        # One point and the mean of two: one and a half variances.
        self._decide(math.sqrt(1.5 * max(self._variance, _LEAST_VARIANCE)) / contrast)

    def _decide(self, deviation: float) -> None:
        """Move the base, or wait for more trials."""
        count = len(self._trials)
        mean = sum(self._trials) / count
        error = deviation / math.sqrt(count)
        words = f"10 % more in flight give {10 * mean:.1f} % more answers (+- {10 * error:.1f}, {count} trials)"
        sure_up = _SURE_BEYOND if self._informed and self._base >= self._initial else _SURE_UP
        if mean - sure_up * error > WORTH:
            self._run = max(1, self._run + 1)
            if self._run > 1 and mean - sure_up * error > CLEAR:
                self._move(self._base * min(_LARGEST_STEP, SWING**self._run), words)
            else:
                step = _ROOT_STEP * math.sqrt(self._base)
                self._move(self._base + (min(step, _INFORMED_STEP * self._base) if self._informed else step), words)
        elif mean + _SURE_DOWN * error < WORTH:
            self._run = min(-1, self._run - 1)
            self._move(self._base / min(_LARGEST_STEP, SWING**-self._run), words)
        elif count >= _MOST_TRIALS:
            self._run = 0
            self._move(self._base * (1 + max(-_UNDECIDED_STEP, min(_UNDECIDED_STEP, mean - WORTH))), words)

    def _shrink(self, slot: Slot) -> None:
        self._before_drops = max(self._before_drops, self._base)
        self._starting = False
        self._run = 0
        total = slot.drops + slot.answers
        self._move(self._base * _DROP_FACTOR, f"{slot.drops} of {total} requests timed out or were refused by Triton")

    def _move(self, base: float, why: str) -> None:
        base = max(float(self._least), min(float(self._most), base))
        self.reason = f"{self._base:.0f} -> {base:.0f}: {why}"
        self._base = base
        self._trials.clear()
        self._points.clear()
