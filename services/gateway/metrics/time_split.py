"""Where the time of answered requests went, Triton's own parts included.

Triton's answers carry no times, but its statistics have sums over all requests, and the workers' slabs have sums too.
The difference of both between two looks says where the time went in between. Not every request is in both: somebody
may ask Triton directly, readiness is proven by inferences, and a request may be counted by Triton already and be on its
way back. Therefore Triton's mean of a look counts for each request that the gateway had answered.

Pure: sums in, sums out. All times are in nanoseconds until they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.gateway.metrics.merged import Merged
from services.gateway.metrics.series import EXCHANGE, NS_PER_S, REQUEST, STAGE, is_answer
from services.gateway.metrics.triton_times import TritonTimes
from services.gateway.metrics.vocabulary import PARTS

Version = tuple[str, str]  # model, version

# Looks that Triton's side of our requests may be missing: a replica that does not answer in time is asked again.
_PATIENCE = 5


class GatewayTimes(NamedTuple):
    """Sums over the answered requests of one version.

    Requests that were merged had one exchange together: ``exchange`` has its time for each of them, ``exchanged`` once.
    """

    requests: int = 0
    whole: int = 0
    edge: int = 0
    admission: int = 0
    forward: int = 0
    answer: int = 0
    exchange: int = 0
    exchanges: int = 0
    exchanged: int = 0

    def since(self, earlier: GatewayTimes) -> GatewayTimes:
        """Return what was added."""
        return GatewayTimes(*(now - then for now, then in zip(self, earlier, strict=True)))


def gateway_times(sums: Merged) -> dict[Version, GatewayTimes]:
    """Add up what the workers counted, by model and version."""
    found: dict[Version, dict[str, int]] = {}
    for key, values in sums.items():
        if key[0] not in (REQUEST, STAGE, EXCHANGE) or not key[2]:
            continue
        of = found.setdefault((key[1], key[2]), dict.fromkeys(GatewayTimes._fields, 0))
        if key[0] == EXCHANGE:
            for name, value in zip(("requests", "exchange", "exchanges", "exchanged"), values, strict=True):
                of[name] += int(value)
        elif key[0] == STAGE:
            of[key[-1]] += int(values[0])
        elif is_answer(key):
            of["whole"] += int(values[0])
    return {version: GatewayTimes(**times) for version, times in found.items()}


@dataclass(slots=True)
class _Account:
    """One version's parts, and up to which sums they were settled."""

    gateway: GatewayTimes = field(default_factory=GatewayTimes)
    triton: TritonTimes = field(default_factory=TritonTimes)
    last: TritonTimes = field(default_factory=TritonTimes)  # Triton's sums at the last look
    alone: int = 0  # looks with news of our side only
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    shown: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))


class TimeSplit:
    """The parts of every version since the beginning."""

    def __init__(self) -> None:
        self._accounts: dict[Version, _Account] = {}

    def settle(self, gateway: Mapping[Version, GatewayTimes], triton: Mapping[Version, TritonTimes]) -> None:
        """Distribute what was added since the last look.

        Args:
            gateway: The sums of the workers.
            triton: The sums of all replicas.
        """
        for version in gateway.keys() | triton.keys():
            account = self._accounts.setdefault(version, _Account())
            _settle(account, gateway.get(version, GatewayTimes()), triton.get(version, TritonTimes()))

    def shown(self) -> dict[Version, dict[str, float]]:
        """Return the seconds of each part that never go down.

        A part that is a difference may lag for a look, when one side had counted more than the other.
        """
        return {
            version: {part: ns / NS_PER_S for part, ns in account.shown.items()}
            for version, account in self._accounts.items()
            if account.gateway.requests
        }


def _settle(account: _Account, gateway: GatewayTimes, triton: TritonTimes) -> None:
    before, account.last = account.last, triton
    ours, theirs = gateway.since(account.gateway), triton.since(account.triton)
    if min(ours) < 0:  # what was counted of a version long ago is kept no longer
        account.gateway, account.triton = gateway, triton
        return
    if not ours.requests:
        # Somebody else's requests, unless they are on their way back: kept for one look.
        account.triton = before
        return
    if not theirs.requests and account.alone < _PATIENCE:
        account.alone += 1
        return
    account.alone = 0
    account.gateway, account.triton = gateway, triton
    share = _experienced(ours) / theirs.requests if theirs.requests else 0.0
    added = {
        "edge": ours.edge,
        "admission": ours.admission,
        "gateway": ours.forward - ours.exchange,
        "network": ours.exchange - theirs.success * share if theirs.requests else 0.0,
        "triton_queue": theirs.queue * share,
        "triton_compute": theirs.compute * share,
        "answer": ours.answer,
    }
    added["unexplained"] = ours.whole - sum(added.values())
    for part, ns in added.items():
        account.parts[part] += ns
        account.shown[part] = max(account.shown[part], account.parts[part])


def _experienced(ours: GatewayTimes) -> float:
    """Return for how many of Triton's requests its mean counts: a long exchange of many counts for each of them."""
    if not ours.exchanged:
        return float(ours.requests)
    return ours.exchanges * ours.exchange / ours.exchanged
