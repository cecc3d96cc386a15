"""Who gets copies of live requests, and when two answers to the same request count as different."""

from __future__ import annotations

import math
from dataclasses import dataclass

_WHOLE = 100  # percent
MAX_SLICE_KEY = 64


@dataclass(frozen=True, slots=True)
class Mirror:
    """The mirror of one model: copies of answered requests that go to one more version, off the response path.

    A request is copied when another routed version (stable or candidate, never one that the client named) has answered
    it. Of an output with class labels the first class counts. An element of any other one counts as different where
    ``|a - b| > absolute + relative * max(|a|, |b|)``; integers, booleans and bytes differ where they are not equal.

    Attributes:
        version: The version that gets the copies.
        percent: Share of those requests that are copied, 0 to 100.
        floor_percent: Share of the copies that go to the version that answered itself, 0 to 100: how much two answers
            of the same version differ is the noise floor of the comparison.
        slice_key: Name of a request attribute (REST header, gRPC metadata key or request parameter) by whose value
            comparisons are counted apart; empty for none.
        relative_tolerance: See above.
        absolute_tolerance: See above.
        scores: Whether the scores of labelled classes count as other elements do, and not the first class alone.
    """

    version: int
    percent: int
    floor_percent: int = 0
    slice_key: str = ""
    relative_tolerance: float = 1e-3
    absolute_tolerance: float = 1e-4
    scores: bool = False

    def __post_init__(self) -> None:
        if self.version < 1:
            raise ValueError(f"a mirror to version {self.version}; expected a positive integer")
        for name, value in (("percent", self.percent), ("floor_percent", self.floor_percent)):
            if not 0 <= value <= _WHOLE:
                raise ValueError(f"{name} of a mirror is {value}; expected 0 to 100 percent")
        if len(self.slice_key) > MAX_SLICE_KEY or not self.slice_key.isprintable():
            raise ValueError(
                f"slice_key of a mirror is {self.slice_key!r}; expected at most {MAX_SLICE_KEY} characters"
            )
        for name, tolerance in (
            ("relative_tolerance", self.relative_tolerance),
            ("absolute_tolerance", self.absolute_tolerance),
        ):
            if not (math.isfinite(tolerance) and tolerance >= 0):
                raise ValueError(f"{name} of a mirror is {tolerance}; expected a finite number of 0 or more")
