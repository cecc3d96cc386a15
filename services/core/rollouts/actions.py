"""What the controller does in the world for a rollout.

Actions belong to a phase, not to the way into it: ``actions_of`` gives them from the stored state alone. Each may be
performed any number of times, so a controller that was killed anywhere performs them all again and is where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.core.inventory import Inventory
from services.core.mirror import Mirror
from services.core.rollouts.rollout import Phase, Rollout
from services.core.route import Route


@dataclass(frozen=True, slots=True)
class LoadVersions:
    """Have these versions of a model ready in every Triton, and no others.

    Attributes:
        model: Model name.
        versions: Versions that must be ready.
        tolerated: Versions that stay where they are loaded and are not loaded where they are not.
    """

    model: str
    versions: frozenset[int]
    tolerated: frozenset[int] = frozenset()

    def holds(self, inventory: Inventory) -> bool:
        """Return whether nothing is to do on any server."""
        enough = self.versions <= inventory.everywhere(self.model)
        return enough and inventory.somewhere(self.model) <= self.versions | self.tolerated


@dataclass(frozen=True, slots=True)
class SetRoute:
    """Have the gateways route a model like this."""

    route: Route


@dataclass(frozen=True, slots=True)
class WarmVersions:
    """Have versions that are loaded warmed in turn, and their answers compared with those of their builds."""

    model: str
    versions: tuple[int, ...]


Action = LoadVersions | SetRoute | WarmVersions


def route_of(rollout: Rollout) -> Route:
    """Return how the model's requests are shared out in a rollout's present state."""
    if rollout.phase.weighted:
        experiment = rollout.spec.experiment
        return Route(
            rollout.model,
            rollout.stable,
            rollout.candidate,
            rollout.weight_percent,
            rollout.versions,
            _mirror_of(rollout),
            () if experiment is None else experiment.arms,
            experiment is not None,
        )
    return Route(rollout.model, rollout.survivor, versions=frozenset({rollout.survivor}))


def _mirror_of(rollout: Rollout) -> Mirror | None:
    """Return who gets copies: the candidate, or stable once the candidate has all traffic."""
    step, copies = rollout.current_step, rollout.spec.copies
    if not step.mirror_percent:
        return None
    return Mirror(
        rollout.stable if step.weight_percent == 100 else rollout.candidate,  # noqa: PLR2004 - percent
        step.mirror_percent,
        copies.floor_percent,
        copies.slice_key,
        copies.relative_tolerance,
        copies.absolute_tolerance,
        copies.scores,
    )


def actions_of(rollout: Rollout) -> tuple[Action, ...]:
    """Return everything that must hold in the world in a rollout's present state, in the order to bring it about.

    A version is loaded before a route names it, and no route names it any more before it is unloaded: in the phases
    between, it is tolerated until the gateways have let go of it.
    """
    route = SetRoute(route_of(rollout))
    compared = rollout.versions
    survivor = frozenset({rollout.survivor})
    if rollout.phase is Phase.WARMING:
        return LoadVersions(rollout.model, compared), route, WarmVersions(rollout.model, rollout.challengers)
    if rollout.phase is Phase.PREPARING or rollout.phase.weighted:
        return LoadVersions(rollout.model, compared), route
    if rollout.phase.terminal:
        return route, LoadVersions(rollout.model, survivor)
    return route, LoadVersions(rollout.model, survivor, tolerated=compared)
