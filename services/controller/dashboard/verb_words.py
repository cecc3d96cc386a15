"""What a person's verb does, said before it is done. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.controller.dashboard import words
from services.core.analysis.verdict import Outcome
from services.core.rollouts.event import EventKind
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.transitions import verbs_in


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
    consequence = {
        EventKind.PAUSE: _pause(rollout),
        EventKind.RESUME: f"The rollout goes on at {rollout.current_step.weight_percent} %, with the evidence that it "
        "has. The step's time runs on from where it stood.",
        EventKind.PROMOTE: _promote(rollout),
        EventKind.ABORT: _abort(rollout),
    }[verb]
    label = verb.value.capitalize()
    return VerbView(verb.value, label, consequence, verb is EventKind.ABORT)


def _pause(rollout: Rollout) -> str:
    if rollout.spec.experiment is not None:
        return (
            "Every version keeps its share of the traffic, outcomes still count, and nothing is decided until "
            "somebody resumes. Harm that is shown still ends the test."
        )
    return (
        f"Version {rollout.candidate} keeps its {rollout.weight_percent} % of the traffic, and no further step is "
        "taken until somebody resumes. Harm that is shown still rolls back."
    )


def _promote(rollout: Rollout) -> str:
    """Say who gets the traffic: of an A/B test its winner, where the last verdict names one."""
    leaving = sorted({rollout.stable, *rollout.challengers} - {rollout.favourite})
    named = words.versions(leaving)
    gone = f"{named} {'is' if len(leaving) == 1 else 'are'} unloaded"
    return f"Version {rollout.favourite} gets all traffic now, without further steps, and {gone}. {_standing(rollout)}"


def _abort(rollout: Rollout) -> str:
    named, several = words.versions(rollout.challengers), len(rollout.challengers) > 1
    if rollout.phase is Phase.PREPARING:
        never = "They never got traffic." if several else "It never got traffic."
        return f"{words.first_upper(named)} {'are' if several else 'is'} not rolled out. {never}"
    return (
        f"Version {rollout.stable} gets all traffic back now, and {named} {'are' if several else 'is'} unloaded. "
        "The rollout is over; a new one begins at its first step."
    )


def _standing(rollout: Rollout) -> str:
    verdict = rollout.verdict
    if verdict is None:
        return "There is no verdict on it yet."
    if verdict.outcome is Outcome.PASS:
        return "The checks of the present step pass."
    return f"The last verdict on it is {verdict.outcome.value}, so this overrules the checks."
