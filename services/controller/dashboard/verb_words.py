"""What a person's verb does, said before it is done. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.event import EventKind
from services.core.rollout import Phase, Rollout
from services.core.transitions import verbs_in
from services.core.verdict import Outcome


@dataclass(frozen=True, slots=True)
class VerbView:
    """A verb as a button and as a question.

    Attributes:
        name: As in the API.
        label: On the button.
        consequence: What happens when it is used now.
        weighty: Whether it undoes what was begun.
    """

    name: str
    label: str
    consequence: str
    weighty: bool


def verbs_of(rollout: Rollout) -> tuple[VerbView, ...]:
    """Return the verbs that are allowed now."""
    return tuple(verb_of(rollout, verb) for verb in verbs_in(rollout.phase))


def verb_of(rollout: Rollout, verb: EventKind) -> VerbView:
    """Return one verb."""
    stable, candidate, weight = rollout.stable, rollout.candidate, rollout.weight_percent
    consequence = {
        EventKind.PAUSE: f"Version {candidate} keeps its {weight} % of the traffic, and no further step is taken until "
        "somebody resumes. Harm that is shown still rolls back.",
        EventKind.RESUME: f"The rollout goes on at {rollout.current_step.weight_percent} %, with the evidence that it "
        "has. The step's time runs on from where it stood.",
        EventKind.PROMOTE: f"Version {candidate} gets all traffic now, without further steps, and version {stable} is "
        f"unloaded. {_standing(rollout)}",
        EventKind.ABORT: _abort(rollout),
    }[verb]
    label = verb.value.capitalize()
    return VerbView(verb.value, label, consequence, verb is EventKind.ABORT)


def _abort(rollout: Rollout) -> str:
    if rollout.phase is Phase.PREPARING:
        return f"Version {rollout.candidate} is not rolled out. It never got traffic."
    return (
        f"Version {rollout.stable} gets all traffic back now, and version {rollout.candidate} is unloaded. "
        "The rollout is over; a new one begins at its first step."
    )


def _standing(rollout: Rollout) -> str:
    verdict = rollout.verdict
    if verdict is None:
        return "There is no verdict on it yet."
    if verdict.outcome is Outcome.PASS:
        return "The checks of the present step pass."
    return f"The last verdict on it is {verdict.outcome.value}, so this overrules the checks."
