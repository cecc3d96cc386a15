"""A rollout told to a person: where it stands, how that came about, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from services.core.analysis.checks.memory import memory
from services.core.analysis.verdict import Outcome, Verdict
from services.core.memory.terms import LeakCheck
from services.core.rollouts.forecast import Forecast, duration
from services.core.rollouts.history import HistoryEntry, Judged
from services.core.rollouts.rollout import Phase, Rollout

_STANDS = {
    Phase.PREPARING: "Version {candidate} is being loaded; all traffic goes to version {stable}.",
    Phase.WARMING: "Version {candidate} is warmed with its samples; all traffic goes to version {stable}.",
    Phase.PROGRESSING: "Version {candidate} gets {weight} % of the traffic and is compared with version {stable}.",
    Phase.PAUSED: "Held at {weight} % for version {candidate}; harm still rolls back.",
    Phase.PROMOTING: "Version {candidate} has all traffic; the gateways are letting go of version {stable}.",
    Phase.ROLLING_BACK: "Version {stable} has all traffic again; the gateways are letting go of version {candidate}.",
    Phase.ABORTING: "Version {stable} has all traffic again; the gateways are letting go of version {candidate}.",
    Phase.CONCLUDING: "The comparison is over; the gateways are letting go of {arms}.",
    Phase.CONCLUDED: "The comparison with {arms} ended well; version {stable} has all traffic.",
    Phase.PROMOTED: "Version {candidate} was promoted and has all traffic.",
    Phase.ROLLED_BACK: "Version {candidate} was rolled back; version {stable} has all traffic.",
    Phase.ABORTED: "Stopped; version {stable} has all traffic.",
    Phase.FAILED: "Version {candidate} never got traffic; version {stable} has all of it.",
}
_WHAT_IT_MEANS = {
    Outcome.FAIL: "Harm beyond what is allowed is shown:",
    Outcome.PASS: "All that was asked for is shown:",
    Outcome.INCONCLUSIVE: "Neither harm nor its absence is shown yet. What is missing:",
    Outcome.ERROR: "The evidence cannot be judged:",
}


def explain_rollout(
    rollout: Rollout, history: Sequence[HistoryEntry], coming: Forecast | None, now: float
) -> list[str]:
    """Return a rollout in plain words, line by line.

    Args:
        rollout: As it is stored.
        history: Its history, oldest line first.
        coming: When the present step will have a verdict; None where no traffic of this kind is enough.
        now: Seconds since the epoch.
    """
    lines = [
        f"{rollout.id}: {rollout.phase.value}",
        _STANDS[rollout.phase].format(
            stable=rollout.stable, candidate=rollout.contender, arms=_arms(rollout), weight=rollout.weight_percent
        ),
        f"Why: {rollout.reason}.",
    ]
    if rollout.phase.weighted:
        lines += _present(rollout, coming, now)
    lines += ["", "How it came about:"]
    for entry in history:
        lines += _told(entry)
    return lines


def _arms(rollout: Rollout) -> str:
    first, *others = rollout.challengers
    return f"version {first}" if not others else f"versions {', '.join(map(str, rollout.challengers))}"


def _present(rollout: Rollout, coming: Forecast | None, now: float) -> Iterator[str]:
    step, seen = rollout.current_step, rollout.evidence
    since = duration(max(0.0, now - rollout.evidence_since))
    yield (
        f"Step {rollout.step + 1} of {len(rollout.spec.steps)} began {since} ago. Since then version "
        f"{rollout.candidate} answered {seen.candidate.requests:,} requests and version {rollout.stable} "
        f"{seen.stable.requests:,}."
    )
    for version, tally in seen.arms.items():
        yield f"Version {version} answered {tally.requests:,}."
    if rollout.verdict is not None:
        yield from verdict_words(rollout.verdict)
    if rollout.spec.memory.leak_check is not LeakCheck.OFF:
        yield f"Of its {memory(rollout.spec.memory, seen.memory).text}."
        for version, course in seen.arms_memory.items():
            yield f"Of version {version}'s {memory(rollout.spec.memory, course, f'version {version}').text}."
    left = step.duration_s - (now - rollout.step_entered_at)
    if left > 0:
        yield f"The step lasts {duration(left)} longer in any case."
    if coming is None:
        yield "Traffic as it is will not lead to a verdict: send more, also synthetic load, or decide by hand."
    else:
        yield f"If the traffic goes on as it is: {coming.text}."


def verdict_words(verdict: Verdict) -> Iterator[str]:
    """Yield what a verdict means, and the checks that decided it."""
    yield _WHAT_IT_MEANS[verdict.outcome]
    for check in verdict.checks:
        if check.outcome is verdict.outcome:
            yield f"  - {check.text}"


def _told(entry: HistoryEntry) -> Iterator[str]:
    when = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    weight = f"{entry.source_weight_percent} % -> {entry.target_weight_percent} %"
    moved = f"{entry.source.value} -> {entry.target.value}" if entry.source is not None else entry.target.value
    yield f"{when}  {moved}, weight {weight}, by {entry.actor}: {entry.reason}"
    if entry.judged is not None:
        yield f"  {_basis(entry.judged)}"


def _basis(judged: Judged) -> str:
    config, seen = judged.terms.config, judged.seen
    experiment = judged.terms.experiment
    outcomes = sum(each.count for each in seen.outcomes.values())
    fed_back = f", {outcomes:,} outcomes" if experiment else ""
    sure = f"; a lift that is none in at most {experiment.significance:.2%}" if experiment else ""
    copied = f", {seen.comparison.pairs:,} copies compared" if judged.terms.mirror_percent else ""
    return (
        f"on {seen.candidate.requests:,} requests of the candidate and {seen.stable.requests:,} of stable{copied}"
        f"{fed_back}, seen under route table {judged.route_generation}; wrong in at most "
        f"{config.false_rollback_bound:.2%} of rollouts of an equal version{sure}; terms {judged.terms.digest[:12]}"
    )
