"""What is asked of an A/B test: its arms, the outcome that counts, and what a win is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum

from services.core.errors import InvalidRequest
from services.core.route import Arm

_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,62}")
MAX_ARMS = 8


class OutcomeKind(StrEnum):
    """What an outcome may be."""

    SHARE = "share"  # 0 or 1: clicked, label correct
    VALUE = "value"  # a number between bounds that are said beforehand


class Better(StrEnum):
    """Which way is an improvement."""

    HIGHER = "higher"
    LOWER = "lower"


class OnWin(StrEnum):
    """What is done when an arm has won."""

    CONCLUDE = "conclude"  # stable keeps the traffic, and a person decides
    PROMOTE = "promote"  # the winner gets all traffic


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidRequest(message)


@dataclass(frozen=True, slots=True)
class OutcomeSpec:
    """The outcome that is fed back.

    Attributes:
        name: Names it in feedback.
        kind: What it may be.
        low: Its smallest value, 0 or more; 0 for a share.
        high: Its largest value; 1 for a share.
        better: Which way is an improvement.
    """

    name: str
    kind: OutcomeKind = OutcomeKind.SHARE
    low: float = 0.0
    high: float = 1.0
    better: Better = Better.HIGHER

    def __post_init__(self) -> None:
        _expect(
            _NAME.fullmatch(self.name) is not None,
            f"outcome '{self.name}'; expected a name of lower-case letters, digits, '-' and '_', such as clicked",
        )
        _expect(
            all(map(math.isfinite, (self.low, self.high))) and 0 <= self.low < self.high,
            f"outcome '{self.name}' is from {self.low} to {self.high}; expected two numbers, the first 0 or more (a "
            "lift is a share of stable's mean) and the second larger",
        )
        _expect(
            self.kind is OutcomeKind.VALUE or (self.low, self.high) == (0.0, 1.0),
            f"outcome '{self.name}' is a share, which is 0 or 1, and has bounds; say kind value for other numbers",
        )

    def scaled(self, value: float) -> float:
        """Return a value on the scale from 0 to 1.

        Raises:
            InvalidRequest: It is none that this outcome may have.
        """
        if self.kind is OutcomeKind.SHARE:
            _expect(value in {0.0, 1.0}, f"outcome '{self.name}' is {value}; expected 0 or 1")
        _expect(
            self.low <= value <= self.high,
            f"outcome '{self.name}' is {value}; expected a number from {self.low:g} to {self.high:g}",
        )
        return (value - self.low) / (self.high - self.low)

    def raw(self, mean: float) -> float:
        """Return a mean on the scale from 0 to 1 as the outcome's own."""
        return self.low + (self.high - self.low) * mean


@dataclass(frozen=True, slots=True)
class Experiment:
    """An A/B test.

    Attributes:
        outcome: What is fed back.
        arms: Versions beside the candidate that are compared with stable too.
        min_lift: Smallest improvement of the mean that matters, as a share of stable's mean.
        significance: Highest probability that any arm is ever said to be better, or to be worse, that is not.
        min_outcomes: Outcomes that stable and each arm must have before there is a verdict.
        on_win: What is done when an arm has won.
    """

    outcome: OutcomeSpec
    arms: tuple[Arm, ...] = ()
    min_lift: float = 0.02
    significance: float = 0.05
    min_outcomes: int = 200
    on_win: OnWin = field(default=OnWin.CONCLUDE)

    def __post_init__(self) -> None:
        _expect(len(self.arms) <= MAX_ARMS, f"{len(self.arms)} further arms; expected {MAX_ARMS} at most")
        for arm in self.arms:
            _expect(1 <= arm.version < 2**63, f"an arm is version {arm.version}; expected 1 or higher")
            _expect(arm.weight_percent >= 1, f"version {arm.version} has {arm.weight_percent} %; expected 1 or more")
        _expect(
            math.isfinite(self.min_lift) and 0 <= self.min_lift <= 10,  # noqa: PLR2004 - eleven times as good
            f"min_lift is {self.min_lift}; expected 0 to 10, for example 0.02 for 2 %",
        )
        _expect(
            math.isfinite(self.significance) and 1e-9 <= self.significance <= 0.5,  # noqa: PLR2004 - a coin's
            f"significance is {self.significance}; expected 1e-9 to 0.5",
        )
        _expect(
            1 <= self.min_outcomes <= 10**9,
            f"min_outcomes is {self.min_outcomes}; expected 1 to 10^9: nothing wins without outcomes",
        )
