"""What to do where the traffic is too thin for a rollout's steps: how much more it takes, and what takes less. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.core.counts.tally import Tally
from services.core.memory.terms import LeakCheck
from services.core.rollouts.forecast import StepPlan, duration, plan
from services.core.rollouts.rollout_spec import LONGEST_STEP_S, STEPS_OF, RolloutSpec, Strategy
from services.core.rollouts.start_command import only_in_a_file, start_command

REPLAY_S = 600.0
"""In about this time a proposed replay is over."""
_WHOLE = 100


class Remedy(StrEnum):
    """What may be done about thin traffic."""

    COPIES = "copies"  # copy all requests, where a step that is judged by copies makes fewer
    SHADOW_REPLAY = "shadow-replay"  # compare both on recorded inputs, off the clients' path
    SYNTHETIC_LOAD = "synthetic-load"  # send so much more through the gateway while the rollout runs
    PATIENCE = "patience"  # let it run for longer: what comes of real requests cannot be made up
    TOLERANCES = "tolerances"  # no traffic of this kind passes


@dataclass(frozen=True, slots=True)
class Proposal:
    """One thing to do.

    Attributes:
        remedy: What kind of thing.
        rate_per_s: Requests per second to add; None where none are added.
        requests: How many of them; None as well.
        seconds: How long the rollout, or the replay, takes then; None where that is not known.
        text: All of it for a person.
    """

    remedy: Remedy
    rate_per_s: float | None
    requests: int | None
    seconds: float | None
    text: str


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """What is known of a rollout before it starts.

    Attributes:
        steps: How long each step will take.
        per_s: Requests per second that this was worked out from.
        proposals: What to do where the traffic is too thin; empty where it is not.
    """

    steps: tuple[StepPlan, ...]
    per_s: float
    proposals: tuple[Proposal, ...] = ()

    @property
    def seconds(self) -> float | None:
        """All steps together; None where one cannot pass."""
        return _together(self.steps)

    @property
    def enough(self) -> bool:
        """Whether every step can pass in time."""
        return _in_time(self.steps)


def planned(spec: RolloutSpec, seen: Tally, elapsed_s: float) -> TrafficPlan:
    """Return how long a rollout will take if the candidate is as good as stable, and what to do if that is too long.

    Args:
        spec: What is asked for.
        seen: What stable answered lately, with all of the traffic.
        elapsed_s: In how many seconds.
    """
    steps = plan(spec, seen, elapsed_s)
    per_s = seen.requests / elapsed_s if elapsed_s else 0.0
    if _in_time(steps):
        return TrafficPlan(steps, per_s)
    return TrafficPlan(steps, per_s, tuple(_proposals(spec, steps, seen, elapsed_s)))


def _proposals(spec: RolloutSpec, steps: Sequence[StepPlan], seen: Tally, elapsed_s: float) -> list[Proposal]:
    if not seen.requests:
        text = (
            "there was no request in the last minute, so nothing is known of errors and latency: send some, for "
            f"example `penstock replay {spec.model} --data FILE`, and plan again meanwhile"
        )
        return [Proposal(Remedy.SYNTHETIC_LOAD, None, None, None, text)]
    if spec.strategy is Strategy.AB:
        text = (
            "an A/B test lives on what becomes of real requests, and no replay makes that up: allow more time "
            "(--max-step-duration), fewer arms, or fewer outcomes (--min-outcomes)"
        )
        return [Proposal(Remedy.PATIENCE, None, None, None, text)]
    per_s = seen.requests / elapsed_s
    found = [_copies(spec, seen, elapsed_s)]
    if all(step.requests is not None for step in steps):  # otherwise no traffic is enough for one of them
        found += [_replay(spec, seen, elapsed_s), _synthetic(spec, steps, per_s)]
    if known := [one for one in found if one is not None]:
        return known
    text = (
        "no traffic of this kind passes: stable itself is outside of the tolerances, or they leave no room for chance"
    )
    return [Proposal(Remedy.TOLERANCES, None, None, None, text)]


def _copies(spec: RolloutSpec, seen: Tally, elapsed_s: float) -> Proposal | None:
    """Propose to copy all requests in every step, if that is enough."""
    copied = tuple(replace(step, mirror_percent=_WHOLE) for step in spec.steps)
    if copied == spec.steps:
        return None
    steps = plan(replace(spec, steps=copied), seen, elapsed_s)
    seconds = _together(steps)
    if not _in_time(steps) or seconds is None:
        return None
    text = f"copy all requests in each step (MIRROR 100): {duration(seconds)} at this traffic"
    return Proposal(Remedy.COPIES, None, None, seconds, text)


def _replay(spec: RolloutSpec, seen: Tally, elapsed_s: float) -> Proposal | None:
    """Propose a shadow that compares both versions on recorded inputs, unless that is what was asked for."""
    shadow = spec
    if spec.strategy is not Strategy.SHADOW:
        longest_s = max(spec.max_step_duration_s, LONGEST_STEP_S[Strategy.SHADOW])
        shadow = replace(spec, strategy=Strategy.SHADOW, steps=STEPS_OF[Strategy.SHADOW], max_step_duration_s=longest_s)
    [step, *_] = plan(shadow, seen, elapsed_s)
    if step.requests is None or step.seconds is None:
        return None
    share = shadow.steps[0].mirror_percent / _WHOLE
    requests = _round_up(step.requests / share)
    rate = _round_up(requests / REPLAY_S)
    seconds = requests / rate
    unsaid = only_in_a_file(shadow)
    same = f" with a --file that says {', '.join(unsaid)} as here" if unsaid else ""
    text = (
        f"replay about {requests:,} recorded requests to a shadow, off the clients' path: `{start_command(shadow)}`"
        f"{same}, then `penstock replay {spec.model} --data FILE --rate {rate} --rollout ID`, {duration(seconds)}"
    )
    return Proposal(Remedy.SHADOW_REPLAY, float(rate), requests, seconds, text)


def _synthetic(spec: RolloutSpec, steps: Sequence[StepPlan], per_s: float) -> Proposal | None:
    """Propose to send so much more that every step passes in time."""
    seconds = [step.seconds for step in steps if step.seconds is not None]
    if len(seconds) < len(steps):
        return None
    factor = max(seconds) / spec.max_step_duration_s
    rate = _round_up(per_s * (factor - 1))
    together = sum(max(_least_s(spec, index), each / factor) for index, each in enumerate(seconds))
    requests = _round_up(rate * together)
    text = (
        f"send about {rate} requests/s more while it runs, {requests:,} in all: `penstock loadtest FILE --rate {rate}` "
        f"or recorded ones with `penstock replay {spec.model} --data FILE --rate {rate}`: {duration(together)} then"
    )
    return Proposal(Remedy.SYNTHETIC_LOAD, float(rate), requests, together, text)


def _least_s(spec: RolloutSpec, index: int) -> float:
    """Return what a step takes however much traffic there is, seconds."""
    watched = not index and spec.memory.leak_check is LeakCheck.REQUIRE
    return max(spec.steps[index].duration_s, spec.memory.window_s if watched else 0.0)


def _in_time(steps: Sequence[StepPlan]) -> bool:
    return all(step.seconds is not None and not step.too_long for step in steps)


def _together(steps: Sequence[StepPlan]) -> float | None:
    seconds = [step.seconds for step in steps]
    return None if None in seconds else sum(each for each in seconds if each is not None)


def _round_up(value: float) -> int:
    """Return two significant digits, rounded up, and 1 at least."""
    unit = int(10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1))
    return max(1, math.ceil(value / unit) * unit)
