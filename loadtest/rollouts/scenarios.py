"""What is simulated: versions that are the same, and candidates that are worse in one way each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from loadtest.rollouts.footprint import Footprint
from loadtest.rollouts.traffic import Traffic, Version
from services.core.memory.terms import LeakCheck, MemoryTerms
from services.core.rollouts.rollout_spec import STEPS_OF, AnalysisConfig, Copies, RolloutSpec, Step, Strategy

STEPS = (Step(5, 30, 200), Step(25, 30, 200), Step(50, 30, 200))
SPEC = RolloutSpec("m", 2, steps=STEPS)
# What is worth detecting: 0.3 % more bad answers, a p99 that is 5 % longer.
STRICT = replace(
    SPEC,
    analysis=AnalysisConfig(max_error_increase=0.003, max_p99_ratio=1.05, p99_floor_s=0.0),
    max_step_duration_s=7200,
)
# Wrong labels that leave the mix of classes as it is are seen on copies alone. Worth detecting: 0.5 % of the inputs.
COMPARED = replace(
    SPEC,
    steps=tuple(replace(step, mirror_percent=20) for step in STEPS),
    analysis=AnalysisConfig(max_disagreement=0.005),
)
# All requests copied, no traffic of its own. Worth detecting: 0.2 % of the inputs.
SHADOWED = replace(
    SPEC,
    strategy=Strategy.SHADOW,
    steps=STEPS_OF[Strategy.SHADOW],
    analysis=AnalysisConfig(max_disagreement=0.002),
    copies=Copies(floor_percent=1),
)
# No step passes before its memory was watched for ten minutes: 64 MiB an hour beyond stable's are allowed, or a tenth.
WATCHED = replace(SPEC, steps=(Step(50, 30, 200),), memory=MemoryTerms(leak_check=LeakCheck.REQUIRE))
# The harshest for identical versions: no tolerance at all, and a bound of 10 %.
NO_TOLERANCE = AnalysisConfig(
    max_error_increase=0.0,
    max_p99_ratio=1.0,
    p99_floor_s=0.0,
    max_prediction_shift=0.0,
    max_score_shift=0.0,
    false_rollback_bound=0.1,
)
CONSTANT = (1.0, *(0.0,) * 9)
SKEWED = (0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02)
# The p99 of a lognormal is its median times exp(2.326 sigma): a fifth more of it, and the same median.
_Z99 = 2.3263
LONGER_TAIL = Version(sigma=0.5 + math.log(1.2) / _Z99)
# Nine of ten scores of the first class are over 0.8; with doubt two thirds are under it.
SURE = Version(confidence=(14.0, 1.2), value=(20.0, 4.0))
DOUBTFUL = replace(SURE, confidence=(6.0, 2.0))
# Two normal distributions that are four fifths of their deviation apart have a KS distance of 0.31.
SHIFTED = replace(SURE, value=(23.2, 4.0))
# A cache that fills once, and a garbage collector that is at work all the time.
BUSY_MEMORY = Footprint(fills_mib=200.0, fills_within_s=90.0, collected_mib=60.0, collected_every_s=45.0)
# 1 KiB for each of 100 answers a second: 352 MiB an hour, a day until 8 GiB are full.
LEAKING = Version(footprint=replace(BUSY_MEMORY, kept_bytes=1024))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of rollout.

    Attributes:
        name: In words.
        spec: What was asked for.
        traffic: What the gateways see.
        harmful: Whether the candidate is to be rolled back; otherwise it must not be.
        longest_s: Give up after so long.
    """

    name: str
    spec: RolloutSpec
    traffic: Traffic
    harmful: bool
    longest_s: int = 1800

    @property
    def tolerances(self) -> str:
        """How much worse a candidate may be, in words: more than that is worth detecting."""
        asked, memory = self.spec.analysis, self.spec.memory
        words = [f"p99 x{asked.max_p99_ratio:g}", f"errors +{100 * asked.max_error_increase:g} %"]
        if any(step.mirror_percent for step in self.spec.steps):
            words.append(f"disagreement {100 * asked.max_disagreement:g} %")
        if memory.leak_check is LeakCheck.REQUIRE:
            words.append(f"memory +{memory.max_growth_mib_per_h:g} MiB/h or {memory.max_growth_share_per_h:.0%}/h")
        return ", ".join(words)


SAME = (
    Scenario("identical versions", SPEC, Traffic(), harmful=False),
    Scenario(
        "identical versions, no tolerance, bound 10 %",
        replace(SPEC, analysis=NO_TOLERANCE),
        Traffic(),
        harmful=False,
        longest_s=600,
    ),
    Scenario(
        "identical versions with scores and a numeric output, no tolerance, bound 10 %",
        replace(SPEC, analysis=NO_TOLERANCE),
        Traffic(stable=SURE, candidate=SURE),
        harmful=False,
        longest_s=600,
    ),
    Scenario(
        "identical versions, everything fails in a twentieth of the seconds",
        SPEC,
        Traffic(outage_share=0.05),
        harmful=False,
        longest_s=600,
    ),
    Scenario("identical versions, a fifth of the requests copied", COMPARED, Traffic(), harmful=False),
    Scenario("identical versions, shadow of all requests", SHADOWED, Traffic(), harmful=False),
    Scenario(
        "identical versions, memory watched while caches fill and collectors run",
        WATCHED,
        Traffic(stable=Version(footprint=BUSY_MEMORY), candidate=Version(footprint=BUSY_MEMORY)),
        harmful=False,
    ),
)
WORSE = (
    Scenario("p99 20 % longer, the same median", STRICT, Traffic(candidate=LONGER_TAIL), True, 7200),
    Scenario("everything 20 % slower", STRICT, Traffic(candidate=Version(median_s=0.024)), True, 7200),
    Scenario("1 % errors", STRICT, Traffic(candidate=Version(error=0.01)), True, 3600),
    Scenario("wrong labels on 2 % of inputs, a fifth copied", COMPARED, Traffic(candidate=Version(wrong=0.02)), True),
    Scenario("wrong labels on 2 % of inputs, shadow", SHADOWED, Traffic(candidate=Version(wrong=0.02)), True),
    Scenario("another answer to 1 % of inputs, shadow", SHADOWED, Traffic(candidate=Version(wrong=0.01)), True),
    Scenario("one answer in 1,000 not finite", SPEC, Traffic(candidate=Version(non_finite=0.001)), True),
    Scenario("one answer in 200 not finite", SPEC, Traffic(candidate=Version(non_finite=0.005)), True),
    Scenario("one class for everything", SPEC, Traffic(candidate=Version(mix=CONSTANT)), True),
    Scenario("a numeric output shifted by 0.8 deviations", SPEC, Traffic(stable=SURE, candidate=SHIFTED), True, 3600),
    Scenario("lower scores at the same classes", SPEC, Traffic(stable=SURE, candidate=DOUBTFUL), True),
    Scenario("twice the latency", SPEC, Traffic(candidate=Version(median_s=0.040)), True),
    Scenario(
        "a slow memory leak, 1 KiB with each answer",
        WATCHED,
        Traffic(stable=Version(footprint=BUSY_MEMORY), candidate=LEAKING),
        True,
    ),
)
