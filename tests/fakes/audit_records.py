"""Records of the audit log for tests."""

from __future__ import annotations

from typing import Any

from services.core.rollouts.audit import AuditOutcome, AuditRecord, Standing
from services.core.rollouts.rollout import Phase


def record_of(action: str = "start", model: str = "digits", **fields: Any) -> AuditRecord:
    now = Standing(1, 2, 5, Phase.PROGRESSING, 0)
    known: dict[str, Any] = {
        "at": 12.5,
        "actor": "ada",
        "action": action,
        "model": model,
        "rollout": None,
        "reason": "because",
        "outcome": AuditOutcome.DONE,
        "source": None,
        "target": now,
        "instance": "controller-1",
    }
    return AuditRecord(**known | fields)
