"""What rollouts wait for beside their evidence. Only the controller that asks knows; another one says who that is."""

from __future__ import annotations

from services.controller.election.leadership import Mandate
from services.controller.gateways.fleet import Fleet
from services.controller.webhooks.questions import Questions, awaited
from services.core.rollouts.rollout import Phase, Rollout


class Waits:
    """Reads; asks nobody.

    Args:
        questions: Asked by the controller that leads.
        mandate: Who leads.
        fleet: The gateway workers.
    """

    def __init__(self, questions: Questions, mandate: Mandate, fleet: Fleet) -> None:
        self._questions = questions
        self._mandate = mandate
        self._fleet = fleet

    def of(self, rollout: Rollout) -> list[str]:
        """Return what a rollout waits for, or that it is known elsewhere, where there may be anything."""
        if self._mandate.held:
            return [*self._questions.waiting(rollout), *self._workers(rollout)]
        if not awaited(rollout):
            return []
        return [f"webhooks, perhaps: only the controller that leads knows, and {self._mandate.refusal()}"]

    def _workers(self, rollout: Rollout) -> list[str]:
        if rollout.phase is not Phase.PROGRESSING:
            return []
        found = self._fleet.uncounted(rollout.model)
        return [f"gateway worker {instance}, which {why}" for instance, why in sorted(found.items())]
