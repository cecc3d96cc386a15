"""Where a request goes: to a replica that is well, to the one that its sequence is on, or to another one after that."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.core.errors import Unavailable
from services.core.inference import InferRequest
from services.triton.replicas.balance import choose, ranked
from services.triton.replicas.replica import Pair, Replica, Version
from services.triton.replicas.roster import Roster
from services.triton.replicas.sequences import SequenceMemory


class Placement:
    """Chooses among the replicas of a version.

    Args:
        roster: Who there is.
        max_sequences: Most running sequences whose place is remembered.
        draw: Gives a number in [0, 1).
    """

    def __init__(self, roster: Roster, max_sequences: int, draw: Callable[[], float]) -> None:
        self._roster = roster
        self._draw = draw
        self._sequences: SequenceMemory[Pair] = SequenceMemory(max_sequences)

    def first(self, version: Version) -> Pair:
        """Return where a request on its own goes first; to anybody if nobody is well.

        Raises:
            Unavailable: There is no replica.
        """
        candidates = version.well or version.pairs
        if not candidates:
            raise _nobody()
        return choose(candidates, self._draw)

    def other(self, version: Version, tried: Sequence[Pair]) -> Pair | None:
        """Return a replica that was not tried; one that is not well only where few are; None where there is none."""
        replicas = [pair.replica for pair in tried]
        others = [pair for pair in version.well if pair.replica not in replicas]
        if not others and self._roster.is_panic(version):
            others = [pair for pair in version.pairs if pair.replica not in replicas]
        return choose(others, self._draw) if others else None

    def in_sequence(self, version: Version, request: InferRequest) -> Pair:
        """Return where a sequence is as long as that replica lives; else where it begins; errors as ``first``.

        A sequence that runs on a replica that is ejected goes there all the same: its state is nowhere else.
        """
        key = (version.model, version.version, request.sequence or "")
        pair = self._sequences.get(key)
        begins = bool(request.parameters.get("sequence_start"))
        if pair is not None and self._lives(pair) and not (begins and pair not in version.well):
            return pair
        pair = self._preferred(version, "\0".join(map(str, key)))
        self._sequences.put(key, pair)
        return pair

    def sequence_begins(self, version: Version, request: InferRequest, pair: Pair) -> None:
        """Note where a sequence is now."""
        self._sequences.put((version.model, version.version, request.sequence or ""), pair)

    def sequence_ended(self, version: Version, request: InferRequest) -> None:
        """Forget where a sequence was."""
        self._sequences.drop((version.model, version.version, request.sequence or ""))

    def holds(self, replica: Replica) -> bool:
        """Whether a replica has a running sequence."""
        return any(pair.replica is replica for pair in self._sequences.places())

    def _lives(self, pair: Pair) -> bool:
        name = pair.replica.name
        return pair.replica in (self._roster.replicas.get(name), self._roster.leaving.get(name))

    def _preferred(self, version: Version, key: str) -> Pair:
        """Return the replica that every worker with the same list prefers for a sequence, if it is well."""
        if not version.pairs:
            raise _nobody()
        pairs = {pair.replica.name: pair for pair in version.pairs}
        order = [pairs[name] for name in ranked(key, pairs)]
        return next((pair for pair in order if pair in version.well), order[0])


def _nobody() -> Unavailable:
    return Unavailable("no replica of Triton is known yet; try again shortly")
