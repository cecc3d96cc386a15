"""Which versions are ready where: one look at every server of models that answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_NONE: frozenset[int] = frozenset()


class Inventory(Mapping[str, frozenset[int]]):
    """The versions by model that are READY on *every* server looked at; a model with none is left out.

    With ``somewhere`` it says of several servers exactly what decisions need: all of them have at least a set of
    versions where ``everywhere`` holds it, and none has more than a set where that holds ``somewhere``.

    Args:
        servers: READY versions by model, by server.
        away: Servers that did not answer, with the reason.
    """

    def __init__(
        self, servers: Mapping[str, Mapping[str, frozenset[int]]], away: Mapping[str, str] | None = None
    ) -> None:
        self.servers = dict(servers)
        self.away = dict(away or {})
        names = {model for loaded in self.servers.values() for model in loaded}
        sets = {model: [loaded.get(model, _NONE) for loaded in self.servers.values()] for model in sorted(names)}
        self._somewhere = {model: _NONE.union(*each) for model, each in sets.items()}
        everywhere = {model: each[0].intersection(*each[1:]) for model, each in sets.items()}
        self._everywhere = {model: versions for model, versions in everywhere.items() if versions}

    def everywhere(self, model: str) -> frozenset[int]:
        """Return the versions that are READY on every server."""
        return self._everywhere.get(model, _NONE)

    def somewhere(self, model: str) -> frozenset[int]:
        """Return the versions that are READY on at least one server."""
        return self._somewhere.get(model, _NONE)

    def __getitem__(self, model: str) -> frozenset[int]:
        return self._everywhere[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._everywhere)

    def __len__(self) -> int:
        return len(self._everywhere)

    def __repr__(self) -> str:
        return f"Inventory({self.servers!r}, away={self.away!r})"
