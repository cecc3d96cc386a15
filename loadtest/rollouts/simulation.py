"""One rollout on synthetic traffic, looked at every second, beside the rules that others look by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.rollouts.rivals import Rival
from loadtest.rollouts.traffic import Traffic, answered
from services.core.event import Event, EventKind
from services.core.evidence import Evidence
from services.core.judgement import judge
from services.core.rollout import Phase, Rollout, new_rollout
from services.core.rollout_spec import RolloutSpec
from services.core.transitions import advance

LONGEST_S = 1800


@dataclass(frozen=True, slots=True)
class Simulated:
    """How a simulated rollout ended.

    Attributes:
        rollout: Its last state.
        exposed: Requests that the candidate had answered by then.
        seconds: How long it took.
        rolled_back_by: The rivals that would have rolled it back on the way.
    """

    rollout: Rollout
    exposed: int
    seconds: int
    rolled_back_by: frozenset[str] = frozenset()


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
    exposed, now, fallen = 0, 0, set[str]()
    while now < longest_s and rollout.phase is Phase.PROGRESSING:
        now += 1
        requests = int(chance.poisson(traffic.per_second))
        mine = int(chance.binomial(requests, rollout.weight_percent / 100))
        outage = bool(chance.random() < traffic.outage_share)
        stable = answered(traffic.stable, requests - mine, chance, outage=outage)
        candidate = answered(traffic.candidate, mine, chance, outage=outage)
        seen, step = rollout.evidence, rollout.step
        rollout = replace(rollout, evidence=Evidence(seen.stable + stable, seen.candidate + candidate))
        exposed += mine
        fallen |= {rival.name for rival in rivals if rival.rolls_back(step, stable, candidate)}
        event = judge(rollout, float(now))
        if event is not None:
            rollout, _ = advance(rollout, event, float(now))
    return Simulated(rollout, exposed, now, frozenset(fallen))
