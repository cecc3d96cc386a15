"""The candidates of a self-test, and what has to become of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loadtest.selftest.faulty_model import NONE, Fault

PROMOTED, ROLLED_BACK = "promoted", "rolled_back"
# What is worth detecting, for a verdict within a minute at 150 requests/s.
ANALYSIS = {"max_error_increase": 0.005, "max_p99_ratio": 1.25, "p99_floor_s": 0.002, "max_disagreement": 0.005}
STEPS = [{"weight_percent": 50, "duration_s": 3, "min_requests": 200, "mirror_percent": 50}]
# The model answers one input always alike: any difference counts.
COPIES = {"floor_percent": 0}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One candidate.

    Attributes:
        name: In words.
        fault: What is wrong with it.
        expected: The phase that its rollout has to end in.
        check: The check that has to decide; empty for none.
    """

    name: str
    fault: Fault
    expected: str
    check: str = ""

    def body(self, version: int) -> dict[str, Any]:
        """Return the request that starts its rollout, but for the model."""
        return {
            "version": version,
            "steps": STEPS,
            "analysis": ANALYSIS,
            "copies": COPIES,
            "max_step_duration_s": 300,
            "actor": "selftest",
        }


SCENARIOS = (
    Scenario("an answer takes twice as long", Fault(slower=2.0), ROLLED_BACK, "p99"),
    Scenario("5 % of the requests fail", Fault(errors=0.05), ROLLED_BACK, "errors"),
    Scenario("5 % of the requests get another class", Fault(wrong=0.05), ROLLED_BACK, "agreement"),
    Scenario("2 % of the answers are not finite", Fault(not_finite=0.02), ROLLED_BACK, "finite"),
    Scenario("an identical version", NONE, PROMOTED),
)
