"""What a rollout asks of memory: room before the candidate is loaded, and no leak while it answers. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from services.core.errors import InvalidRequest

MIB = 1 << 20
LEAST_SAMPLES = 16
"""Samples that a slope is made of at least."""
SETTLING_SHARE = 0.2
"""First part of the samples' time that is left out: caches and allocators fill there once."""


class LeakCheck(StrEnum):
    """What is done about the candidate's memory while a step runs."""

    WATCH = "watch"  # a leak that is shown rolls back; nothing waits for the samples that would show one
    REQUIRE = "require"  # no step passes before its memory was watched for long enough and is within what is allowed
    OFF = "off"  # it is not looked at


class OnUnknown(StrEnum):
    """What is done with a candidate where nobody can say how much memory a Triton has left."""

    GO_ON = "go-on"  # it is loaded, and the rollout says that the memory is not known
    REFUSE = "refuse"  # it is not loaded


@dataclass(frozen=True, slots=True)
class MemoryTerms:
    """What is asked of memory.

    Attributes:
        reserve: Share of each Triton's memory that must stay free when the candidate is loaded, 0 to 0.9.
        on_unknown: What is done where that memory cannot be read.
        leak_check: What is done about the candidate's memory while a step runs.
        max_growth_mib_per_h: Growth of the candidate's private memory on one Triton that is allowed beyond stable's,
            MiB an hour, and
        max_growth_share_per_h: the same as a share of what it takes; the larger of both counts.
        window_s: Shortest time of samples that a leak is shown by, or its absence, seconds.
        interval_s: Time between two samples, seconds.
    """

    reserve: float = 0.10
    on_unknown: OnUnknown = OnUnknown.GO_ON
    leak_check: LeakCheck = LeakCheck.WATCH
    max_growth_mib_per_h: float = 64.0
    max_growth_share_per_h: float = 0.10
    window_s: float = 600.0
    interval_s: float = 10.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("reserve", 0.0, 0.9),
            ("max_growth_mib_per_h", 0.0, 1e6),
            ("max_growth_share_per_h", 0.0, 100.0),
            ("interval_s", 0.1, 600.0),
            ("window_s", 1.0, 30 * 86_400.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise InvalidRequest(f"memory.{name} is {value}; expected a number from {low:g} to {high:g}")
        least_s = math.ceil(LEAST_SAMPLES / (1 - SETTLING_SHARE)) * self.interval_s
        if self.window_s < least_s:
            raise InvalidRequest(
                f"memory.window_s is {self.window_s:g} and memory.interval_s {self.interval_s:g}: too few samples for "
                f"a slope; expected a window of {least_s:g} s or more"
            )
