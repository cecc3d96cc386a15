"""One rollout that is watched while controllers are killed: what is meant by it, and how far it was seen to come."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.controller_kills.scenarios import Case, Cast


@dataclass
class Watched:
    """One model's rollout.

    Attributes:
        model: The model.
        case: How it is to go.
        request_id: Names the request that starts it; the ids of its outcomes begin with that.
        cast: Which version plays which part; None before it was asked for.
        seen_before: So many routes with a candidate, of any model, were served before it was asked for.
        id: The rollout's id; empty before it is known.
        place: The phase and the step in which it was seen last.
        said: So many of the case's words were said.
        over: Whether its end was seen.
    """

    model: str
    case: Case
    request_id: str
    cast: Cast | None = None
    seen_before: int = 0
    id: str = ""
    place: tuple[str, int] | None = None
    said: int = 0
    over: bool = False

    def next_word(self) -> tuple[int, str] | None:
        """Return what a person says now, with its place among the words; None where there is nothing to say.

        A word that was obeyed without an answer is passed over: the phase has moved on.
        """
        phase = self.place[0] if self.place else ""
        for number, (where, verb) in enumerate(self.case.words):
            if number >= self.said and where == phase:
                return number, verb
        return None
