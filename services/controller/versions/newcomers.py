"""Which version of a model that was never routed becomes its stable one: the latest that loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from services.controller.versions.loader import Loader

_TRY_AGAIN_S = 30.0


@dataclass(slots=True)
class _Candidates:
    published: tuple[int, ...]
    since: float
    refused: dict[int, str] = field(default_factory=dict)


class Newcomers:
    """Models without a route, and which of their versions were refused.

    Args:
        loader: Loads versions in the background.
        clock: Monotonic clock, seconds.
    """

    def __init__(self, loader: Loader, clock: Callable[[], float]) -> None:
        self._loader = loader
        self._clock = clock
        self._models: dict[str, _Candidates] = {}

    def settle(self, model: str, published: tuple[int, ...], loaded: frozenset[int]) -> int | None:
        """Return the version that shall be stable once it is loaded; until then begin a load and return None.

        Args:
            model: A model without a route.
            published: Its versions in the repository.
            loaded: Its versions that are ready.
        """
        now = self._clock()
        known = self._models.get(model)
        if known is None or known.published != published or self._all_refused_long_ago(known, now):
            known = self._models[model] = _Candidates(published, now)
        refusal = self._loader.take_refusal(model)
        if refusal is not None:
            known.refused |= dict.fromkeys(refusal.versions, refusal.reason)
        for version in sorted(published, reverse=True):
            if version in known.refused:
                continue
            if version in loaded:
                del self._models[model]
                return version
            self._loader.ensure(model, frozenset({version}))
            return None
        return None

    def problem(self, model: str) -> str | None:
        """Return why a model has no stable version yet."""
        known = self._models.get(model)
        if known is None:
            return None
        if not known.published:
            return "no version is published"
        if known.refused:
            return "; ".join(f"version {version}: {reason}" for version, reason in sorted(known.refused.items()))
        return self._loader.problem(model)

    @staticmethod
    def _all_refused_long_ago(known: _Candidates, now: float) -> bool:
        return len(known.refused) == len(known.published) and now - known.since >= _TRY_AGAIN_S
