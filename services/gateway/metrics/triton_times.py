"""What Triton's statistics say of the time that requests took there.

Triton counts for each request how long it took in all (``success``), how long it waited (``queue``) and how long the
execution took that it was part of (``compute_input``, ``compute_infer``, ``compute_output``). A batch of eight requests
adds its execution eight times to these sums, once for each: they are sums of what requests experienced, which is what
the parts of a request's time are. Executions counted once are in ``batch_stats``, which nothing here reads. Source:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.core.errors import UpstreamFailure

_COMPUTE = ("compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")


class TritonTimes(NamedTuple):
    """Sums over the answered requests of one version; times in nanoseconds."""

    requests: int = 0
    success: int = 0
    queue: int = 0
    compute: int = 0

    def since(self, earlier: TritonTimes) -> TritonTimes:
        """Return what was added to an older state; all of it, where the sums began anew in between."""
        if any(now < then for now, then in zip(self, earlier, strict=True)):
            return self
        return TritonTimes(*(now - then for now, then in zip(self, earlier, strict=True)))

    def plus(self, other: TritonTimes) -> TritonTimes:
        """Return both together."""
        return TritonTimes(*(one + two for one, two in zip(self, other, strict=True)))


def times_of(document: Any) -> dict[tuple[str, str], TritonTimes]:
    """Return the sums by model and version of Triton's answer to ``v2/models/stats``.

    Raises:
        UpstreamFailure: It is not what Triton sends.
    """
    try:
        return {(row["name"], row["version"]): _times(row["inference_stats"]) for row in document["model_stats"]}
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamFailure(f"Triton's statistics make no sense: {error!r}") from error


def _times(stats: Mapping[str, Mapping[str, int]]) -> TritonTimes:
    compute = sum(int(stats[name]["ns"]) for name in _COMPUTE if name in stats)
    success = stats["success"]
    return TritonTimes(int(success["count"]), int(success["ns"]), int(stats["queue"]["ns"]), compute)


class ReplicaTimes:
    """The sums over all replicas that never go down: a replica that begins anew adds to what it had."""

    def __init__(self) -> None:
        self._last: dict[str, dict[tuple[str, str], TritonTimes]] = {}
        self._totals: dict[tuple[str, str], TritonTimes] = {}

    @property
    def totals(self) -> Mapping[tuple[str, str], TritonTimes]:
        """The sums by model and version since the first look at each replica."""
        return self._totals

    def take(self, replica: str, times: dict[tuple[str, str], TritonTimes]) -> None:
        """Add what a replica counted since its last look; the first only says where it begins."""
        last = self._last.get(replica)
        self._last[replica] = times
        if last is None:
            return
        for version, now in times.items():
            added = now.since(last.get(version, TritonTimes()))
            self._totals[version] = self._totals.get(version, TritonTimes()).plus(added)

    def retain(self, replicas: set[str]) -> None:
        """Forget where replicas were that are no longer asked; what they counted stays."""
        for gone in self._last.keys() - replicas:
            del self._last[gone]
