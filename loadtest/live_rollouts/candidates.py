"""The candidates of live rollouts, each in front of the same traffic and judged on the same tolerances."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from loadtest.selftest.faulty_model import NONE, Fault, Pace

RATE_PER_S = 200
# The p99 is 96 ms, a fifth of it 19 ms. What a busy machine adds, it adds on both sides, which waters the difference
# down: at a p99 of 48 ms it left 14 of 20 % for minutes. At the rate above a quarter to a half of the instances work.
PACE = Pace(median_s=0.060, sigma=0.2, instances=24)
# Worth detecting: 0.3 % more bad answers, a p99 that is 9 % longer, another class for 0.5 % of the inputs.
ANALYSIS = {"max_error_increase": 0.003, "max_p99_ratio": 1.09, "p99_floor_s": 0.0, "max_disagreement": 0.005}
# A minute of samples shows a leak of 4 KiB with each of 100 answers a second: 24 MiB a minute.
MEMORY = {"leak_check": "require", "window_s": 60, "interval_s": 2}
CANARY = {"steps": [{"weight_percent": 50, "duration_s": 5, "min_requests": 500, "mirror_percent": 20}]}
SHADOW = {"strategy": "shadow", "steps": [{"weight_percent": 0, "duration_s": 5, "mirror_percent": 100}]}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One kind of candidate.

    Attributes:
        name: In words.
        fault: What is wrong with it.
        check: The check that has to decide against it; empty where it is as good as stable.
        how: Strategy and steps, as the controller takes them.
    """

    name: str
    fault: Fault = NONE
    check: str = ""
    how: dict[str, Any] = field(default_factory=lambda: CANARY)

    @property
    def harmful(self) -> bool:
        """Whether it has to be rolled back."""
        return bool(self.check)

    def body(self, version: int, longest_s: float) -> dict[str, Any]:
        """Return the request that starts its rollout, but for the model."""
        return {
            "version": version,
            **self.how,
            "analysis": ANALYSIS,
            "memory": MEMORY,
            "copies": {"floor_percent": 0},  # the model answers one input always alike
            "max_step_duration_s": longest_s,
            "actor": "live-rollouts",
        }


SAME = Candidate("identical versions")
WORSE = (
    Candidate("p99 20 % longer, the same median", Fault(longer_tail=1.2), "p99"),
    Candidate("1 % errors", Fault(errors=0.01), "errors"),
    Candidate("wrong labels on 2 % of inputs", Fault(wrong=0.02), "agreement"),
    Candidate("one answer in 200 not finite", Fault(not_finite=0.005), "finite"),
    Candidate("a memory leak, 4 KiB with each answer", Fault(kept_bytes=4096), "memory"),
)
CHECKS = tuple(harm.check for harm in WORSE)
DIFFERENT = Candidate("another answer to 1 % of inputs, shadow of all requests", Fault(wrong=0.01), "agreement", SHADOW)


def plan(same: int, each_harm: int, shadows: int, checks: Collection[str] = CHECKS) -> Iterator[Candidate]:
    """Yield the candidates in an order in which no kind has a time of its own.

    Args:
        same: How many identical versions.
        each_harm: How many of each harm.
        shadows: How many shadows.
        checks: Of the harms, those that these checks find.
    """
    harms = [(harm, each_harm) for harm in WORSE if harm.check in checks]
    kinds = [(SAME, same), *harms, (DIFFERENT, shadows)]
    for turn in zip_longest(*([kind] * count for kind, count in kinds)):
        yield from (one for one in turn if one is not None)
