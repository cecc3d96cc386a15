"""Which version answers which key.

The bucket of a key is ``hash(model, key) mod 10000``. A candidate at w percent owns the buckets below 100 w, so raising
the weight only adds keys, and lowering it gives back the same keys. Further arms of an A/B test own the ranges after
the candidate's, in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from services.core.mirror import Mirror

BUCKETS = 10_000
BUCKETS_PER_PERCENT = BUCKETS // 100


class Role(StrEnum):
    """What part a version played in one answer."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    PINNED = "pinned"  # the client named the version


def bucket_of(model: str, key: str) -> int:
    """Return the bucket of a sticky key, 0 to 9999; the same in every process and at every time."""
    digest = hashlib.blake2b(f"{model}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % BUCKETS


@dataclass(frozen=True, slots=True)
class Arm:
    """A further version of an A/B test, and its share of the buckets, 1 to 99 percent."""

    version: int
    weight_percent: int


@dataclass(frozen=True, slots=True)
class Route:
    """How one model's requests are shared out.

    Attributes:
        model: Model name.
        stable: The version that answers unless the candidate owns the bucket.
        candidate: The version under rollout, or None.
        weight_percent: Share of the buckets that the candidate owns, 0 to 100.
        versions: Every version that is loaded and that a client may name.
        mirror: Who gets copies of its requests; None for nobody.
        arms: Further versions that are compared with stable; each plays the candidate's role.
        experiment: Whether outcomes of its requests may come back: the gateway remembers who answered.
    """

    model: str
    stable: int
    candidate: int | None = None
    weight_percent: int = 0
    versions: frozenset[int] = frozenset()
    mirror: Mirror | None = None
    arms: tuple[Arm, ...] = ()
    experiment: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.weight_percent <= 100:  # noqa: PLR2004 - percent
            raise ValueError(f"weight of {self.model} is {self.weight_percent}; expected 0 to 100 percent")
        if self.candidate is None and self.weight_percent:
            raise ValueError(f"{self.model} has weight {self.weight_percent} and no candidate")
        if self.mirror is not None and self.mirror.version not in self.versions:
            raise ValueError(
                f"{self.model} is mirrored to version {self.mirror.version}, which is not among its loaded versions "
                f"{sorted(self.versions)}"
            )

        if self.arms:
            self._check_arms()

    def _check_arms(self) -> None:
        if self.candidate is None:
            raise ValueError(f"{self.model} has {len(self.arms)} further arms and no candidate")
        versions = [self.stable, self.candidate, *(arm.version for arm in self.arms)]
        if len(set(versions)) != len(versions):
            raise ValueError(f"{self.model} shares its traffic among versions {versions}; expected each once")
        shares = [self.weight_percent, *(arm.weight_percent for arm in self.arms)]
        if min(shares[1:]) < 1 or sum(shares) >= 100:  # noqa: PLR2004 - percent
            raise ValueError(
                f"{self.model} has shares of {shares} percent; expected 1 or more for each arm and 99 at most together"
            )

    @property
    def challengers(self) -> tuple[int, ...]:
        """The candidate and the further arms: everything that is compared with stable."""
        return () if self.candidate is None else (self.candidate, *(arm.version for arm in self.arms))

    def pick(self, bucket: int) -> tuple[int, Role]:
        """Return the version that owns a bucket, and its role."""
        end = self.weight_percent * BUCKETS_PER_PERCENT
        if self.candidate is not None and bucket < end:
            return self.candidate, Role.CANDIDATE
        for arm in self.arms:
            end += arm.weight_percent * BUCKETS_PER_PERCENT
            if bucket < end:
                return arm.version, Role.CANDIDATE
        return self.stable, Role.STABLE


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes at one generation; a table with a lower generation never replaces one with a higher.

    Attributes:
        generation: Grows with every change of any route.
        routes: Routes by model.
        changed: The generation that brought a model's present route, where that is known: no two A/B tests of a model
            have the same.
    """

    generation: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
