"""What is on the page of one rollout. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.controller.api.views import rollout_view
from services.controller.dashboard import words
from services.controller.dashboard.arms import Arms, arms_of
from services.controller.dashboard.audit_page import AuditLine, audit_lines
from services.controller.dashboard.mix import Mix, mixes_of
from services.controller.dashboard.shadow import Differences, differences_of
from services.controller.dashboard.sparkline import Sparkline, sparklines
from services.controller.dashboard.steps import StepView, Weight, steps_of, weight_of
from services.controller.dashboard.verb_words import VerbView, verbs_of
from services.controller.dashboard.verdicts import CheckView, checks_of
from services.controller.dashboard.versions import Row, rows
from services.controller.events.trend import Trend
from services.controller.storage.store import AuditPage
from services.controller.webhooks.delivery import Undelivered, undelivered_words
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Phase, Rollout

_SHOWN_LINES = 200


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line of the history."""

    at: float
    event: str
    phases: str
    weights: str
    actor: str
    reason: str
    checks: tuple[CheckView, ...]


@dataclass(frozen=True, slots=True)
class RolloutPage:
    """One rollout as it is shown.

    Attributes:
        rollout: The rollout itself.
        purpose: What it is for.
        phase_words: What its phase means.
        reason: Why it is there.
        waits: What it waits for beside its evidence.
        untold: What webhooks were not told.
        timing: How long it has been where it is.
        outlook: What is missing for a verdict; empty where none is waited for.
        step_words: Which step the evidence is of.
        steps: The steps.
        weight: Share of the traffic, meant and seen.
        rows: Stable beside candidate.
        outcome: The verdict in one word; empty without one.
        checks: The verdict's checks.
        mixes: Predicted classes.
        sparklines: The course of this step.
        differences: Shadow differences, where there are any.
        arms: Arms of an A/B test, where it is one.
        audit: The latest records of the audit log, the latest first.
        audit_goes_on: Whether there are older ones.
        history: Every change of phase or step, oldest first; of a long one its end.
        earlier: Lines before that.
        verbs: What a person may do now.
    """

    rollout: Rollout
    purpose: str
    phase_words: str
    reason: str
    waits: tuple[str, ...]
    untold: tuple[str, ...]
    timing: str
    outlook: str
    step_words: str
    steps: tuple[StepView, ...]
    weight: Weight
    rows: tuple[Row, ...]
    outcome: str
    checks: tuple[CheckView, ...]
    mixes: tuple[Mix, ...]
    sparklines: tuple[Sparkline, ...]
    differences: Differences | None
    arms: Arms | None
    audit: tuple[AuditLine, ...]
    audit_goes_on: bool
    history: tuple[HistoryLine, ...]
    earlier: int
    verbs: tuple[VerbView, ...]


def rollout_page(
    rollout: Rollout,
    history: Sequence[HistoryEntry],
    audit: AuditPage,
    *,
    serving: dict[str, Any],
    trend: Trend | None,
    now: float,
    waits: Sequence[str] = (),
    untold: Sequence[Undelivered] = (),
    outlook: str = "",
) -> RolloutPage:
    """Return what is shown.

    Args:
        rollout: The rollout.
        history: Its history, oldest line first.
        audit: Its records in the audit log, the latest first.
        serving: What ``Overview.serving`` says of its model.
        trend: The course of its present step, where it was followed.
        now: Seconds since the epoch.
        waits: What it waits for beside its evidence.
        untold: What its webhooks were not told.
        outlook: What ``Outlook`` says of it.
    """
    evidence = rollout.evidence
    return RolloutPage(
        rollout=rollout,
        purpose=_purpose(rollout),
        phase_words=(words.EXPERIMENT_PHASES if rollout.spec.experiment else words.PHASES)[rollout.phase.value],
        reason=words.brief(rollout.reason),
        waits=tuple(words.brief(each) for each in waits),
        untold=tuple(words.brief(each) for each in undelivered_words(untold, now)),
        timing=_timing(rollout, now),
        outlook=outlook,
        step_words="this step" if rollout.phase.weighted else "the last step",
        steps=steps_of(rollout),
        weight=weight_of(rollout, serving),
        rows=rows(evidence.stable, evidence.candidate, _rates(rollout, trend)),
        outcome=rollout.verdict.outcome.value if rollout.verdict else "",
        checks=checks_of(rollout.verdict),
        mixes=mixes_of(evidence.stable, evidence.candidate),
        sparklines=sparklines(trend.points) if trend is not None else (),
        differences=_differences(rollout),
        arms=arms_of(rollout),
        audit=audit_lines(audit.records),
        audit_goes_on=audit.more is not None,
        history=tuple(_line(entry) for entry in history[-_SHOWN_LINES:]),
        earlier=max(0, len(history) - _SHOWN_LINES),
        verbs=verbs_of(rollout),
    )


def _purpose(rollout: Rollout) -> str:
    if rollout.spec.experiment is None:
        return f"Version {rollout.candidate} is to replace version {rollout.stable}"
    several = len(rollout.challengers) > 1
    compared = words.first_upper(words.versions(rollout.challengers))
    return f"{compared} {'are' if several else 'is'} compared with version {rollout.stable}"


def _differences(rollout: Rollout) -> Differences | None:
    if not any(step.mirror_percent for step in rollout.spec.steps):
        return None
    return differences_of(rollout_view(rollout)["evidence"].get("comparison"))


def _rates(rollout: Rollout, trend: Trend | None) -> tuple[float, float] | None:
    return trend.rates() if trend is not None and rollout.phase.weighted else None


def _timing(rollout: Rollout, now: float) -> str:
    if rollout.phase.terminal:
        return f"took {words.duration(rollout.phase_entered_at - rollout.created_at)}"
    if rollout.phase is not Phase.PROGRESSING:
        return f"for {words.duration(now - rollout.phase_entered_at)}"
    passed, step = now - rollout.step_entered_at, rollout.current_step
    if not rollout.step_is_over(now):
        return f"{words.duration(passed)} of at least {words.duration(step.duration_s)} in this step"
    limit = words.duration(rollout.spec.max_step_duration_s)
    return f"{words.duration(passed)} in this step, which may take {limit}"


def _line(entry: HistoryEntry) -> HistoryLine:
    source = words.state(entry.source.value) if entry.source else ""
    target = words.state(entry.target.value)
    before, after = entry.source_weight_percent, entry.target_weight_percent
    return HistoryLine(
        entry.at,
        entry.event.replace("_", " "),
        f"{source} {words.ARROW} {target}" if source and source != target else target,
        f"{before} {words.ARROW} {after} %" if before != after else f"{after} %",
        entry.actor,
        words.brief(entry.reason),
        checks_of(entry.judged.verdict) if entry.judged else (),
    )
