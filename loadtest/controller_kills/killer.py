"""Kills controllers and starts them again, and now and then freezes one that leads."""

from __future__ import annotations

import random
import signal
import time

from loadtest.bench.part import Part
from loadtest.controller_kills.controllers import Controllers
from loadtest.controller_kills.finding import Finding
from services.core.errors import Unavailable

_FREEZE_S = 1.0
_FREEZE_TIMEOUT_S = 30.0


class Killer:
    """Hits one controller at a time, and waits until one leads again.

    Attributes:
        back_at: When the last one was back, by the monotonic clock.

    Args:
        controllers: What is killed.
        choice: Where chance comes from.
        finding: Where it notes what it saw.
    """

    def __init__(self, controllers: Controllers, choice: random.Random, finding: Finding) -> None:
        self._controllers, self._choice, self._finding = controllers, choice, finding
        self.back_at = time.monotonic()

    def strike(self, when: str) -> bool:
        """Kill one, or freeze a leader for longer than its lease; return whether it was the leader that was killed."""
        controllers, finding = self._controllers, self._finding
        leader = controllers.leader()
        victim = leader or self._choice.choice(controllers.parts)
        several = len(controllers.parts) > 1
        if several and self._choice.random() < 0.2:  # noqa: PLR2004 - now and then whoever it hits
            victim = self._choice.choice(controllers.parts)
        freezes = several and leader is not None and self._choice.random() < 0.1  # noqa: PLR2004 - these take long
        try:
            if freezes and leader is not None:
                self._freeze(leader)
            else:
                finding.kills[when] = finding.kills.get(when, 0) + 1
                killed_at = time.monotonic()
                victim.kill()
                victim.start()
                controllers.until(lambda: controllers.leader() is not None, "a leader after a kill")
                finding.away_s = max(finding.away_s, time.monotonic() - killed_at)
            if not several or self._choice.random() < 0.5:  # noqa: PLR2004 - else the next kill may hit one that starts
                controllers.until(lambda: controllers.answers(victim), f"the return of {victim.name}")
        except Unavailable as error:
            finding.broken.append(error.message)
        self.back_at = time.monotonic()
        return not freezes and victim is leader

    def _freeze(self, leader: Part) -> None:
        finding, frozen_at = self._finding, time.monotonic()
        finding.freezes += 1
        leader.signal(signal.SIGSTOP)
        try:
            others = [part for part in self._controllers.parts if part is not leader]
            self._controllers.until(
                lambda: any((self._controllers.get("/v1/leader", part) or {}).get("leading") for part in others),
                "another leader while the first is frozen",
                _FREEZE_TIMEOUT_S,
            )
            finding.frozen_away_s = max(finding.frozen_away_s, time.monotonic() - frozen_at)
            time.sleep(_FREEZE_S)
        finally:
            leader.signal(signal.SIGCONT)
