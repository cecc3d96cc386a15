"""Which version a running sequence is with: raising a candidate's weight must not move it away from its state."""

from __future__ import annotations

from collections import OrderedDict

from services.core.route import Role, Route
from services.gateway.routes import Choice

Key = tuple[str, str]


class SequencePins:
    """Remembers the versions of running sequences, within this worker.

    A sequence stays with its version while that is stable or candidate; when it is neither any more, its state is about
    to be unloaded and the next request goes where every other goes. A worker that has not seen a sequence's start
    decides by its key, as for any sticky key.

    Args:
        most: Most sequences that are remembered; the one unused for longest is forgotten first.
    """

    def __init__(self, most: int = 65_536) -> None:
        self._most = most
        self._versions: OrderedDict[Key, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._versions)

    def choose(self, route: Route, sequence: str, fresh: Choice, *, start: bool, end: bool) -> Choice:
        """Return the version for one request of a sequence.

        Args:
            route: The model's route now.
            sequence: The sequence's id.
            fresh: What the route table says for the sequence's key.
            start: Whether this is its first request.
            end: Whether this is its last one.
        """
        key = (route.model, sequence)
        version = None if start else self._versions.get(key)
        choice = fresh
        if version == route.stable:
            choice = Choice(route.stable, Role.STABLE, fresh.mirror, fresh.test)
        elif version is not None and version in route.challengers:
            choice = Choice(version, Role.CANDIDATE, fresh.mirror, fresh.test)
        if end:
            self._versions.pop(key, None)
            return choice
        self._versions[key] = choice.version
        self._versions.move_to_end(key)
        if len(self._versions) > self._most:
            self._versions.popitem(last=False)
        return choice
