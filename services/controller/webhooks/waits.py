"""What rollouts wait for beside their evidence. Only the controller that asks knows; another one says who that is."""

from __future__ import annotations

from services.controller.election.leadership import Mandate
from services.controller.webhooks.questions import Questions
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.webhook import Occasion

_AWAITED = frozenset(
    {Occasion.CONFIRM_ROLLOUT, Occasion.PRE_ROLLOUT, Occasion.CONFIRM_TRAFFIC_INCREASE, Occasion.CONFIRM_PROMOTION}
)


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
            return self._questions.waiting(rollout.id)
        if rollout.phase.terminal or not any(each.occasion in _AWAITED for each in rollout.spec.webhooks):
            return []
        return [f"webhooks, perhaps: only the controller that leads knows, and {self._mandate.refusal()}"]
