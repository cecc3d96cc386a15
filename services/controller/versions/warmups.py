"""Warms versions in the background, one warm-up per model at a time, and keeps how it went until it is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from services.controller.background import BackgroundOwner
from services.core.errors import DeadlineExceeded, Overloaded, PenstockError, Unavailable
from services.triton.warming.warmer import Warmer

_LOG = logging.getLogger(__name__)
_PAUSE_S = 2.0
# What may be otherwise a moment later; everything else is the version's own.
_PASSING = (Unavailable, DeadlineExceeded, Overloaded)


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """How a warm-up ended: the versions, whether they may have traffic, and what happened in words."""

    versions: tuple[int, ...]
    warm: bool
    words: str


class Warmups(BackgroundOwner[str]):
    """Used as a context: what is under way is cancelled at its end.

    Args:
        warmer: Warms a version.
        clock: Monotonic clock, seconds.
        timeout_s: Bound on the warm-up of one version.
    """

    def __init__(self, warmer: Warmer, clock: Callable[[], float], timeout_s: float = 300.0) -> None:
        super().__init__()
        self._warmer, self._clock, self._timeout_s = warmer, clock, timeout_s
        self._results: dict[str, WarmupResult] = {}
        self._retry_at: dict[str, float] = {}

    def ensure(self, model: str, versions: tuple[int, ...]) -> None:
        """Begin a warm-up, unless one of this model is under way or has ended, or has to be tried again later."""
        result = self._results.get(model)
        if model in self._running or (result is not None and result.versions == versions):
            return
        if self._clock() < self._retry_at.get(model, 0.0):
            return
        self._running.begin(model, self._warm(model, versions), f"warm {model} {_named(versions)}")

    def is_warm(self, model: str, versions: tuple[int, ...]) -> bool:
        """Whether a warm-up of versions has ended well and its result was not taken yet."""
        result = self._results.get(model)
        return result is not None and result.versions == versions and result.warm

    def take_result(self, model: str, versions: tuple[int, ...]) -> WarmupResult | None:
        """Return how the warm-up of versions ended, once."""
        result = self._results.pop(model, None)
        return result if result is not None and result.versions == versions else None

    def keep(self, models: Collection[str]) -> None:
        """Drop what is known of every model but these, and end what is under way: it was another rollout's."""
        self._running.keep(lambda model: model in models)
        self._results = {model: result for model, result in self._results.items() if model in models}
        self._retry_at = {model: at for model, at in self._retry_at.items() if model in models}

    def drop(self) -> None:
        """Begin anew: end what is under way, and forget how the others ended."""
        self._running.cancel_all()
        self._results.clear()
        self._retry_at.clear()

    async def _warm(self, model: str, versions: tuple[int, ...]) -> None:
        words: list[str] = []
        try:
            for version in versions:
                async with asyncio.timeout(self._timeout_s):
                    warmed = await self._warmer.warm(model, version)
                said = "; ".join(one.text for one in warmed)
                words.append(said if len(versions) == 1 else f"version {version}: {said}")
        except TimeoutError:
            self._results[model] = WarmupResult(versions, False, f"not warm within {self._timeout_s:g} s")
        except _PASSING as error:
            self._retry_at[model] = self._clock() + _PAUSE_S
            _LOG.warning("model %s: warming %s is tried again: %s", model, _named(versions), error)
        except PenstockError as error:
            self._results[model] = WarmupResult(versions, False, error.message)
        else:
            self._results[model] = WarmupResult(versions, True, "; ".join(words))


def _named(versions: tuple[int, ...]) -> str:
    return " and ".join(f"version {version}" for version in versions)
