"""One rollout: what was asked for, and how far it has come.

A rollout is a value. ``transitions`` says how one becomes the next, ``judgement`` what its evidence calls for. Neither
reads a clock: time is a parameter, in seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from services.core.analysis.assessment import Terms
from services.core.analysis.checks.lift import winner_of
from services.core.analysis.verdict import Verdict
from services.core.rollouts.evidence import Evidence
from services.core.rollouts.experiment import OnWin
from services.core.rollouts.rollout_spec import RolloutSpec, Step


class Phase(StrEnum):
    """Where a rollout stands."""

    PREPARING = "preparing"  # the candidate is being loaded
    WARMING = "warming"  # it gets warm-up samples until its latency settles, and must answer as when it was built
    PROGRESSING = "progressing"  # a step's weight is held until its evidence is enough
    PAUSED = "paused"  # a person holds the weight; harm still rolls back
    PROMOTING = "promoting"  # the candidate has all traffic; gateways are letting go of the old version
    ROLLING_BACK = "rolling_back"  # stable has all traffic; gateways are letting go of the candidate
    ABORTING = "aborting"  # the same, because somebody said so
    CONCLUDING = "concluding"  # the same, because a shadow or an A/B test is over; no harm was shown
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    CONCLUDED = "concluded"  # a shadow ended well, or an A/B test; stable kept the traffic
    FAILED = "failed"  # the candidate never got traffic: it did not load, or did not answer as it should

    @property
    def terminal(self) -> bool:
        """Whether the rollout is over."""
        return self in _TERMINAL

    @property
    def weighted(self) -> bool:
        """Whether the candidate has its step's share of the traffic."""
        return self in {Phase.PROGRESSING, Phase.PAUSED}

    @property
    def early(self) -> bool:
        """Whether the candidate is made ready and has no traffic yet."""
        return self in {Phase.PREPARING, Phase.WARMING}

    @property
    def leaving(self) -> bool:
        """Whether one version has all traffic and the gateways are letting go of the other."""
        return self in {Phase.PROMOTING, Phase.ROLLING_BACK, Phase.ABORTING, Phase.CONCLUDING}


_TERMINAL = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.CONCLUDED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout's state.

    Attributes:
        spec: What was asked for.
        stable: The version that answered when the rollout began.
        created_at: When it began, seconds since the epoch, like every time here.
        phase_entered_at: When the present phase began.
        step_entered_at: When the present step's time began; later by the length of every pause.
        evidence_since: When the present step's evidence began, whatever was paused since.
        number: Counts the rollouts of one model from 1; 0 until stored.
        phase: Where it stands.
        step: Index of the present step, from 0.
        evidence: What was seen during the present step.
        verdict: The last verdict.
        reason: Why the present phase was entered, in plain words.
        generation: Grows with every store; 0 until stored.
    """

    spec: RolloutSpec
    stable: int
    created_at: float
    phase_entered_at: float
    step_entered_at: float
    evidence_since: float
    number: int = 0
    phase: Phase = Phase.PREPARING
    step: int = 0
    evidence: Evidence = field(default_factory=Evidence)
    verdict: Verdict | None = None
    reason: str = ""
    generation: int = 0

    @property
    def id(self) -> str:
        """Readable and unique: ``digits_cnn-7``."""
        return f"{self.spec.model}-{self.number}"

    @property
    def model(self) -> str:
        """Model name."""
        return self.spec.model

    @property
    def candidate(self) -> int:
        """The version under rollout."""
        return self.spec.version

    @property
    def current_step(self) -> Step:
        """The step whose weight is held, or was last."""
        return self.spec.steps[self.step]

    @property
    def on_last_step(self) -> bool:
        """Whether promotion follows when this step passes."""
        return self.step + 1 == len(self.spec.steps)

    @property
    def weight_percent(self) -> int:
        """Share of the traffic that the candidate has by this state."""
        if self.phase.weighted:
            return self.current_step.weight_percent
        return 100 if self.phase in {Phase.PROMOTING, Phase.PROMOTED} else 0

    @property
    def survivor(self) -> int:
        """The version that answers when the candidate's share is over, one way or the other."""
        return self.favourite if self.phase in {Phase.PROMOTING, Phase.PROMOTED} else self.stable

    @property
    def favourite(self) -> int:
        """The version that a promotion means: the winner where an A/B test's last verdict names one."""
        return winner_of(self.verdict) or self.candidate

    @property
    def contender(self) -> int:
        """The version that is spoken of beside stable: the one that has all traffic by now, else the candidate."""
        return self.candidate if self.survivor == self.stable else self.survivor

    @property
    def challengers(self) -> tuple[int, ...]:
        """The candidate and the further arms of an A/B test."""
        return self.spec.challengers

    @property
    def versions(self) -> frozenset[int]:
        """Every version that must be loaded."""
        return frozenset({self.stable, *self.challengers})

    @property
    def terms(self) -> Terms:
        """On what terms the present step is judged."""
        return terms_of(self.spec, self.step, self.stable)

    def step_is_over(self, now: float) -> bool:
        """Return whether the step's shortest time has passed."""
        return now - self.step_entered_at >= self.current_step.duration_s


def terms_of(spec: RolloutSpec, step: int, stable: int) -> Terms:
    """Return on what terms a step is judged, counted from 0, against a stable version."""
    asked, steps = spec.steps[step], len(spec.steps)
    # An A/B test that promotes nothing needs no proof that its arms do no harm; that none is shown is enough.
    promotes = spec.experiment is None or spec.experiment.on_win is OnWin.PROMOTE
    final = promotes and step + 1 == steps
    return Terms(
        spec.analysis,
        asked.weight_percent,
        asked.min_requests,
        steps,
        final,
        asked.mirror_percent,
        spec.measured,
        spec.memory,
        spec.experiment,
        () if spec.experiment is None else (stable, *spec.challengers),
        spec.copies.floor_percent if asked.mirror_percent else None,
    )


def new_rollout(spec: RolloutSpec, stable: int, now: float) -> Rollout:
    """Return a rollout that begins now."""
    return Rollout(
        spec=spec,
        stable=stable,
        created_at=now,
        phase_entered_at=now,
        step_entered_at=now,
        evidence_since=now,
        reason=f"version {spec.version} is to replace version {stable}; loading it",
    )
