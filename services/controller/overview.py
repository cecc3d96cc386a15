"""The controller's view of itself and of all models, for REST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.controller.api.views import model_view
from services.controller.election.leadership import Mandate
from services.controller.gateways.fleet import Fleet
from services.controller.gateways.route_board import RouteBoard
from services.controller.ledger import Ledger
from services.controller.reconciler import Reconciler
from services.controller.storage.documents import route_document
from services.controller.versions.loader import Loader
from services.controller.versions.newcomers import Newcomers
from services.controller.versions.repository_watch import RepositoryWatch
from services.core.errors import NotFound
from services.core.rollouts.rollout import Rollout


class Overview:
    """Reads; changes nothing.

    Args:
        ledger: Routes and rollouts.
        board: The route table.
        fleet: Gateway workers.
        reconciler: What was seen of Triton at the last tick.
        repository: What is published.
        loader: Why the last loads failed.
        newcomers: Why models have no stable version yet.
        mandate: Who leads.
        waiting: Says what a rollout waits for beside its evidence.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        board: RouteBoard,
        fleet: Fleet,
        reconciler: Reconciler,
        repository: RepositoryWatch,
        loader: Loader,
        newcomers: Newcomers,
        mandate: Mandate,
        waiting: Callable[[Rollout], Sequence[str]] = lambda _: (),
    ) -> None:
        self._ledger = ledger
        self._board = board
        self._fleet = fleet
        self._reconciler = reconciler
        self._repository = repository
        self._loader = loader
        self._newcomers = newcomers
        self._mandate = mandate
        self._waiting = waiting

    def models(self) -> list[dict[str, Any]]:
        """Return all models that are published or routed, by name."""
        names = self._repository.versions.keys() | self._ledger.routes.keys()
        return [self._model(name) for name in sorted(names)]

    def model(self, name: str) -> dict[str, Any]:
        """Return one model.

        Raises:
            NotFound: It is neither published nor routed.
        """
        if name not in self._repository.versions and name not in self._ledger.routes:
            known = ", ".join(model["model"] for model in self.models()) or "none"
            raise NotFound(f"no model '{name}'; models here: {known}")
        return self._model(name)

    def routes(self) -> dict[str, Any]:
        """Return the route table, and which workers serve with an older one."""
        generation = self._board.generation
        return {
            "generation": generation,
            "routes": [route_document(route) for _, route in sorted(self._ledger.routes.items())],
            "workers": sorted(self._fleet.live()),
            "lagging": sorted(self._fleet.lagging(generation)),
        }

    def waits(self, rollout: Rollout) -> list[str]:
        """Return what a rollout waits for beside its evidence."""
        return list(self._waiting(rollout))

    def serving(self, model: str) -> dict[str, Any]:
        """Return how many gateway workers there are, how many serve with a model's present route, and which do not."""
        live, lagging = self._fleet.live(), self._fleet.lagging(self._ledger.changed(model))
        return {"workers": len(live), "acknowledged": len(live - lagging), "lagging": sorted(lagging)}

    def leader(self) -> dict[str, Any]:
        """Return who decides, as far as this process knows; ``leader`` is None where nobody does."""
        me, held, seen = self._mandate.me, self._mandate.held, self._mandate.seen
        leader = me if held else seen.leader
        return {
            "instance": me.instance,
            "leading": held,
            "epoch": self._mandate.epoch if held else seen.epoch,
            "leader": leader and {"instance": leader.instance, "http": leader.http, "grpc": leader.grpc},
        }

    def readiness(self) -> dict[str, Any]:
        """Return whether decisions can be made, and what keeps them from it."""
        problems = {
            "store": self._ledger.problem,
            "triton": self._reconciler.server_problem or self._away(),
            "repository": self._repository.problem,
        }
        return {"ready": self._ledger.problem is None, **{name: words or "ok" for name, words in problems.items()}}

    def _away(self) -> str | None:
        loaded = self._reconciler.loaded
        away = {} if loaded is None else loaded.away
        return "; ".join(f"{replica}: {why}" for replica, why in away.items()) or None

    def _model(self, name: str) -> dict[str, Any]:
        loaded = self._reconciler.loaded
        route = self._ledger.routes.get(name)
        return model_view(
            name,
            published=self._repository.versions.get(name, ()),
            loaded=None if loaded is None else loaded.get(name, frozenset()),
            route=route,
            rollout=self._ledger.active.get(name),
            problem=self._loader.problem(name) if route else self._newcomers.problem(name),
        )
