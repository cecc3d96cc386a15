"""Loads versions in the background, one load per model at a time, with backoff after failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.controller.background import BackgroundOwner
from services.core.errors import DeadlineExceeded, PenstockError, Unavailable
from services.triton.model_server import NOTHING, ModelServer

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Triton said that it cannot load some versions, and why."""

    versions: frozenset[int]
    reason: str


@dataclass(slots=True)
class _Attempts:
    versions: frozenset[int]
    failures: int
    retry_at: float
    problem: str


class Loader(BackgroundOwner[str]):
    """Brings models to exact sets of versions. Used as a context: what is under way is cancelled at its end.

    A load can take minutes, and must not keep the controller from rolling back another model meanwhile.

    Args:
        server: Where versions are loaded.
        clock: Monotonic clock, seconds.
        timeout_s: Bound on one load.
    """

    def __init__(self, server: ModelServer, clock: Callable[[], float], timeout_s: float = 600.0) -> None:
        super().__init__(self._end)
        self._server = server
        self._clock = clock
        self._timeout_s = timeout_s
        self._attempts: dict[str, _Attempts] = {}
        self._refusals: dict[str, Refusal] = {}
        self._ended: dict[str, int] = {}

    def ensure(self, model: str, versions: frozenset[int], tolerated: frozenset[int] = NOTHING) -> None:
        """Begin a load, unless one of this model is under way or the same one failed a moment ago.

        Args:
            model: Model name.
            versions: Versions to have.
            tolerated: Versions that stay where they are loaded.
        """
        if model in self._running:
            return
        attempts = self._attempts.get(model)
        if attempts is not None and attempts.versions == versions and self._clock() < attempts.retry_at:
            return
        self._running.begin(model, self._load(model, versions, tolerated), f"load {model}")

    def ended(self) -> dict[str, int]:
        """Return how many loads of each model have ended so far."""
        return dict(self._ended)

    def undisturbed(self, model: str, since: Mapping[str, int]) -> bool:
        """Return whether what was seen of a model still holds: no load of it is under way, nor was one.

        Args:
            model: Model name.
            since: What ``ended`` returned before one looked.
        """
        return model not in self._running and self._ended.get(model, 0) == since.get(model, 0)

    def take_refusal(self, model: str) -> Refusal | None:
        """Return the last refusal of a model, once."""
        return self._refusals.pop(model, None)

    def problem(self, model: str) -> str | None:
        """Return why the last load of a model failed, or None when it did not."""
        attempts = self._attempts.get(model)
        return attempts.problem if attempts else None

    def forget(self, model: str) -> None:
        """Drop what is remembered of failures: the next load of the model is tried at once."""
        self._attempts.pop(model, None)
        self._refusals.pop(model, None)

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget what failed."""
        self._running.cancel_all()
        self._attempts.clear()
        self._refusals.clear()

    def _end(self, model: str) -> None:
        self._ended[model] = self._ended.get(model, 0) + 1

    async def _load(self, model: str, versions: frozenset[int], tolerated: frozenset[int]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._server.load(model, versions, tolerated)
        except TimeoutError:
            self._note(model, versions, f"not loaded within {self._timeout_s:g} s")
        except (Unavailable, DeadlineExceeded) as error:
            self._note(model, versions, error.message)
        except PenstockError as error:
            self._refusals[model] = Refusal(versions, error.message)
            self._note(model, versions, error.message)
        else:
            _LOG.info("model %s: versions %s are loaded", model, sorted(versions))
            self.forget(model)

    def _note(self, model: str, versions: frozenset[int], problem: str) -> None:
        before = self._attempts.get(model)
        failures = before.failures + 1 if before is not None and before.versions == versions else 1
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
        self._attempts[model] = _Attempts(versions, failures, self._clock() + pause, problem)
        _LOG.warning("model %s: loading versions %s failed: %s", model, sorted(versions), problem)
