"""What a webhook is told. Pure."""

from __future__ import annotations

from typing import Any

from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.webhook import Webhook


def call_document(rollout: Rollout, webhook: Webhook, entry: HistoryEntry | None = None) -> dict[str, Any]:
    """Return what a call says: ``name`` and ``phase`` as in Flagger, and where the rollout stands.

    Its ``delivery`` names what is asked or told, and is the same when it is said again.

    Args:
        rollout: The rollout.
        webhook: Who is called.
        entry: The change that is told; None where something is asked.
    """
    document: dict[str, Any] = {
        "name": rollout.model,
        "phase": rollout.phase.value,
        "type": webhook.occasion.value,
        "webhook": webhook.name,
        "rollout": rollout.id,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "strategy": rollout.spec.strategy.value,
        "step": rollout.step + 1,
        "steps": len(rollout.spec.steps),
        "weight_percent": rollout.weight_percent,
        "reason": rollout.reason,
        "delivery": f"{rollout.id}/{webhook.name}/{rollout.step + 1}",
    }
    if entry is not None:
        document |= {
            "delivery": f"{rollout.id}/{webhook.name}/g{rollout.generation}",
            "at": entry.at,
            "event": entry.event,
            "actor": entry.actor,
            "from_phase": entry.source.value if entry.source is not None else None,
            "from_weight_percent": entry.source_weight_percent,
            "reason": entry.reason,
        }
    return document
