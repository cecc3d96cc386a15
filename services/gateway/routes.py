"""The route table that a worker serves with: replaced as a whole, read by every request."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from services.core.errors import NotFound, Unavailable
from services.core.mirror import Mirror
from services.core.route import BUCKETS, Role, Route, RouteTable, bucket_of


class Choice(NamedTuple):
    """The version that answers one request, and why.

    Attributes:
        version: The version.
        role: What part it plays.
        mirror: Who may get a copy of the request; None for nobody.
        test: The A/B test that an outcome of the request may come back for, so that it is remembered who answered, as
            the generation that brought it; None for none.
    """

    version: int
    role: Role
    mirror: Mirror | None = None
    test: int | None = None


class Routes:
    """Holds the present table and picks versions from it.

    Args:
        draw: Gives a number in [0, 1) for a request without a key.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._table: RouteTable | None = None
        self._tests: dict[str, int] = {}
        self._listeners: list[Callable[[RouteTable], None]] = []

    @property
    def table(self) -> RouteTable | None:
        """The present table; None before the first one."""
        return self._table

    def on_change(self, listener: Callable[[RouteTable], None]) -> None:
        """Call ``listener`` with every new table, after it is in force."""
        self._listeners.append(listener)

    def replace(self, table: RouteTable) -> None:
        """Serve with another table from the next request on; which table is newer is decided by who calls this."""
        self._table = table
        self._tests = {model: table.changed.get(model, 0) for model, route in table.routes.items() if route.experiment}
        for listener in self._listeners:
            listener(table)

    def knows(self, model: str) -> bool:
        """Whether the table has this model."""
        return self._table is not None and model in self._table.routes

    def test_of(self, model: str) -> int | None:
        """Return the A/B test that a model has under way, as the generation that brought it; None without one."""
        return self._tests.get(model)

    def route(self, model: str, version: int | None = None) -> Route:
        """Return the route of a model, after making sure that the version, if one is named, is served.

        Raises:
            Unavailable: There is no table yet.
            NotFound: No such model, or no such version.
        """
        table = self._table
        if table is None:
            raise Unavailable(
                "the gateway has no route table yet: it has not reached its controller; try again shortly"
            )
        route = table.routes.get(model)
        if route is None:
            raise NotFound(f"model '{model}' is not served here; served are: {_listed(table.routes)}")
        if version is not None and version not in route.versions:
            raise NotFound(
                f"version {version} of model '{model}' is not served here; served are: {_listed(route.versions)}"
            )
        return route

    def pick(self, model: str, version: int | None, key: str | None) -> Choice:
        """Return the version that answers: the named one, or the owner of the key's bucket; errors as in ``route``."""
        route = self.route(model, version)
        if version is not None:
            return Choice(version, Role.PINNED)
        if route.candidate is None:
            return Choice(route.stable, Role.STABLE, route.mirror)
        bucket = int(self._draw() * BUCKETS) if key is None else bucket_of(model, key)
        return Choice(*route.pick(bucket), route.mirror, self._tests.get(model))


def _listed(names: object) -> str:
    words = [str(name) for name in sorted(names)]  # type: ignore[call-overload]  # keys of one sortable type
    shown = ", ".join(words[:20])
    return f"{shown}, and {len(words) - 20} more" if len(words) > 20 else shown or "none"  # noqa: PLR2004
