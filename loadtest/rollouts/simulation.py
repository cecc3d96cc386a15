"""One rollout on synthetic traffic, looked at every second, beside the rules that others look by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.rollouts.footprint import Processes
from loadtest.rollouts.rivals import Rival
from loadtest.rollouts.traffic import Traffic, answered, compared
from services.core.analysis.verdict import Outcome
from services.core.counts.comparison import Comparison
from services.core.memory.terms import LeakCheck
from services.core.rollouts.event import Event, EventKind
from services.core.rollouts.evidence import Evidence
from services.core.rollouts.judgement import judge
from services.core.rollouts.rollout import Phase, Rollout, new_rollout
from services.core.rollouts.rollout_spec import RolloutSpec
from services.core.rollouts.transitions import advance

LONGEST_S = 1800


@dataclass(frozen=True, slots=True)
class Simulated:
    """How a simulated rollout ended.

    Attributes:
        rollout: Its last state.
        exposed: Requests of clients that the candidate had answered by then.
        seconds: How long it took.
        rolled_back_by: The rivals that would have rolled it back on the way.
        copies: Copies of requests that the candidate had got by then.
        looks_late: Looks at an answer of the candidate that is not finite after the first one, until the rollback; None
            where there was no such answer or no rollback.
    """

    rollout: Rollout
    exposed: int
    seconds: int
    rolled_back_by: frozenset[str] = frozenset()
    copies: int = 0
    looks_late: int | None = None

    @property
    def harm_shown(self) -> bool:
        """Whether it was rolled back because harm was shown, and not because its time was over."""
        verdict = self.rollout.verdict
        shown = verdict is not None and verdict.outcome is Outcome.FAIL
        return shown and self.rollout.phase is Phase.ROLLING_BACK


def simulate(
    spec: RolloutSpec, traffic: Traffic, seed: int, longest_s: int = LONGEST_S, rivals: Sequence[Rival] = ()
) -> Simulated:
    """Run one rollout until its fate is decided.

    Args:
        spec: What was asked for.
        traffic: What the gateways see.
        seed: Of everything that is left to chance.
        longest_s: Give up after so long.
        rivals: Rules that look at the same answers, each second as well.
    """
    chance = np.random.default_rng(seed)
    rollout = new_rollout(spec, 1, 0.0)
    for ready in (EventKind.LOADED, EventKind.WARMED):
        rollout, _ = advance(rollout, Event(ready), 0.0)
    memory = _Memory(spec, traffic, seed)
    exposed, copies, now, first_odd, fallen = 0, 0, 0, 0, set[str]()
    while now < longest_s and rollout.phase is Phase.PROGRESSING:
        now += 1
        requests = int(chance.poisson(traffic.per_second))
        mine = int(chance.binomial(requests, rollout.weight_percent / 100))
        outage = bool(chance.random() < traffic.outage_share)
        stable = answered(traffic.stable, requests - mine, chance, outage=outage)
        candidate = answered(traffic.candidate, mine, chance, outage=outage)
        comparison, floor = _mirrored(rollout, traffic, stable.answers, chance)
        seen, step = rollout.evidence, rollout.step
        evidence = replace(
            seen,
            stable=seen.stable + stable,
            candidate=seen.candidate + candidate,
            comparison=seen.comparison.absorbing(comparison),
            floor=seen.floor.absorbing(floor),
        )
        rollout = replace(rollout, evidence=memory.looked(evidence, float(now), (requests - mine, mine)))
        exposed += mine
        copies += comparison.mirrored
        odd = candidate.non_finite + sum(output.non_finite for output in comparison.outputs.values())
        first_odd = first_odd or (now if odd else 0)
        fallen |= {rival.name for rival in rivals if rival.rolls_back(step, stable, candidate)}
        event = judge(rollout, float(now))
        if event is not None:
            rollout, _ = advance(rollout, event, float(now))
    late = now - first_odd if first_odd and rollout.phase is Phase.ROLLING_BACK else None
    return Simulated(rollout, exposed, now, frozenset(fallen), copies, late)


class _Memory:
    """Looks at the memory of both versions as often as is asked for."""

    def __init__(self, spec: RolloutSpec, traffic: Traffic, seed: int) -> None:
        versions = ((spec.model, 1), (spec.model, spec.version))
        footprints = (traffic.stable.footprint, traffic.candidate.footprint)
        self._terms, self._versions = spec.memory, versions
        self._processes = Processes(versions, footprints, np.random.default_rng((seed, 1)))
        self._answers = [0, 0]

    def looked(self, evidence: Evidence, now: float, answers: tuple[int, int]) -> Evidence:
        """Return the evidence with a look, if one is due, after both versions answered so many more requests."""
        self._answers = [old + new for old, new in zip(self._answers, answers, strict=True)]
        if self._terms.leak_check is LeakCheck.OFF or now - evidence.memory.last_at < self._terms.interval_s:
            return evidence
        return evidence.with_memory(self._processes.reading(now, self._answers), *self._versions)


def _mirrored(
    rollout: Rollout, traffic: Traffic, answers: int, chance: np.random.Generator
) -> tuple[Comparison, Comparison]:
    """Return what copies of a share of stable's answers show, and of these the ones that stable itself got."""
    share = rollout.current_step.mirror_percent / 100
    if not share:
        return Comparison(), Comparison()
    copies = int(chance.binomial(answers, share))
    own = int(chance.binomial(copies, rollout.spec.copies.floor_percent / 100))
    comparison = compared(traffic.stable, traffic.candidate, copies - own, chance)
    return comparison, compared(traffic.stable, traffic.stable, own, chance)
