"""Takes in what became of answers, for the A/B test that a model has under way."""

from __future__ import annotations

from collections.abc import Sequence

from services.controller.election.leadership import Mandate
from services.controller.ledger import Ledger
from services.core.errors import Conflict, InvalidRequest, NotFound
from services.core.rollouts.experiment import Experiment
from services.core.rollouts.feedback import MAX_BATCH, Feedback, Taken
from services.core.rollouts.rollout import Rollout


class FeedbackIntake:
    """Checks outcomes and stores them; those of one call are stored together, or none is.

    Args:
        ledger: The stored state; written under its lock.
        mandate: Whether this process leads; one that does not changes nothing.
    """

    def __init__(self, ledger: Ledger, mandate: Mandate) -> None:
        self._ledger, self._mandate = ledger, mandate

    async def take(self, model: str, outcomes: Sequence[Feedback]) -> list[Taken]:
        """Store outcomes durably and return what was done with each.

        Raises:
            NotFound: The model is not served.
            Conflict: It has no A/B test that takes outcomes now, or the test has as many as it may.
            InvalidRequest: There are none or too many, or one is of an unknown name, another version or out of bounds.
            Unavailable: The database does not answer, or this controller does not lead; sending them again is safe.
        """
        if not 1 <= len(outcomes) <= MAX_BATCH:
            raise InvalidRequest(f"{len(outcomes)} outcomes in one call; expected 1 to {MAX_BATCH}")
        async with self._ledger.lock:
            self._mandate.require()
            await self._ledger.refresh()
            rollout, experiment = self._experiment(model)
            scaled = [self._scaled(rollout, experiment, one) for one in outcomes]
            return await self._ledger.feed_back(rollout, list(zip(outcomes, scaled, strict=True)))

    def _experiment(self, model: str) -> tuple[Rollout, Experiment]:
        if model not in self._ledger.routes:
            served = ", ".join(sorted(self._ledger.routes)) or "none"
            raise NotFound(f"model '{model}' is not served; served models: {served}")
        rollout = self._ledger.active.get(model)
        if rollout is None or rollout.spec.experiment is None:
            raise Conflict(
                f"model '{model}' has no A/B test under way, so nothing is to be learned from outcomes; start one with "
                "`penstock rollout start --strategy ab`"
            )
        if not rollout.phase.weighted:
            raise Conflict(f"rollout {rollout.id} is {rollout.phase.value}: it takes no outcomes in this phase")
        return rollout, rollout.spec.experiment

    @staticmethod
    def _scaled(rollout: Rollout, experiment: Experiment, one: Feedback) -> float:
        if one.outcome != experiment.outcome.name:
            raise InvalidRequest(
                f"outcome '{one.outcome}' of request '{one.request_id}' is not that of rollout {rollout.id}, which is "
                f"'{experiment.outcome.name}'"
            )
        if one.version not in rollout.versions:
            arms = ", ".join(map(str, sorted(rollout.versions)))
            raise InvalidRequest(
                f"version {one.version} answered request '{one.request_id}' and is no arm of rollout {rollout.id}; its "
                f"arms are {arms}"
            )
        return experiment.outcome.scaled(one.value)
