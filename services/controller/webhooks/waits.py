"""What rollouts wait for beside their evidence. Only the controller that asks knows; another one says who that is."""

from __future__ import annotations

from services.controller.election.leadership import Mandate
from services.controller.webhooks.questions import Questions, awaited
from services.core.rollouts.rollout import Rollout


class Waits:
    """Reads; asks nobody.

    Args:
        questions: Asked by the controller that leads.
        mandate: Who leads.
    """

    def __init__(self, questions: Questions, mandate: Mandate) -> None:
        self._questions = questions
        self._mandate = mandate

    def of(self, rollout: Rollout) -> list[str]:
        """Return which answers a rollout waits for, or that they are known elsewhere, where there may be any."""
        if self._mandate.held:
            return self._questions.waiting(rollout)
        if not awaited(rollout):
            return []
        return [f"webhooks, perhaps: only the controller that leads knows, and {self._mandate.refusal()}"]
