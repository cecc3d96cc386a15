"""Whether there is room for a candidate and further arms, before anything is loaded. Pure.

Nobody knows what a version takes before it runs. The estimate for each instance is twice its files, because a runtime
holds the weights once as they were read and once as it computes with them while it loads, and an overhead for the
interpreter, the runtime and the activations: what stable's instances take beyond twice *its* files where that can be
read, else ``OVERHEAD_BYTES``. It is made to catch what cannot fit, not to plan a server to the last megabyte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.core.memory.report import MemoryReport, MemoryReports, Space, size
from services.core.memory.terms import MIB, MemoryTerms, OnUnknown

FILES_FACTOR = 2
# A process with an interpreter and ONNX Runtime takes about 30 MiB before the first weight (measured, 2026-11).
OVERHEAD_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Need:
    """What is known of a candidate, and of the further arms of an A/B test, before they run.

    Attributes:
        model: Model name.
        stable: The stable version.
        stable_bytes: Size of stable's files, bytes.
        challengers: The candidate and further arms, each with the size of its files, bytes.
        host_instances: Instances of each version on the processor of each Triton.
        gpu_instances: Instances of each version on each GPU.
    """

    model: str
    stable: int
    stable_bytes: int
    challengers: Mapping[int, int]
    host_instances: int
    gpu_instances: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """What came out: whether they may be loaded, and why in words."""

    may_load: bool
    text: str


def preflight(need: Need, terms: MemoryTerms, reports: MemoryReports) -> Preflight:
    """Return whether every Triton has room for all versions that it does not have yet, beside what must stay free."""
    short: list[str] = []
    fits: list[str] = []
    unknown = dict(reports.problems) if reports.known or reports.problems else {"no Triton": "none is known yet"}
    for name, report in sorted(reports.known.items()):
        missing = [version for version in need.challengers if (need.model, version) not in report.versions]
        if not missing:
            fits.append(f"{name} has {'it' if len(need.challengers) == 1 else 'them'} already")
            continue
        for place, wanted, space in _demands(need, report, missing):
            where = f"{name}{place}"
            if space is None:
                unknown[where] = "it does not say how much it has"
                continue
            reserve = terms.reserve * space.total_bytes
            if wanted > space.available_bytes - reserve:
                together = f" and about {size(wanted)} are needed in all" if len(missing) > 1 else ""
                short.append(
                    f"{where} has {size(space.available_bytes)} left of {size(space.total_bytes)}, of which "
                    f"{size(reserve)} must stay free{together}"
                )
            else:
                fits.append(f"{where} has {size(space.available_bytes)} left, about {size(wanted)} are needed")
    if short:
        return Preflight(
            False,
            f"too little memory: {_estimates(need, reports)}, and "
            f"{'; '.join(short)}. Nothing was loaded. Give the server more memory, stop what else runs there, lower "
            "count in instance_group, or start the rollout with a smaller --memory-reserve",
        )
    if not unknown:
        return Preflight(True, f"memory: {'; '.join(fits)}")
    words = "memory not known: " + "; ".join(f"{where}: {why}" for where, why in sorted(unknown.items()))
    if terms.on_unknown is OnUnknown.REFUSE:
        return Preflight(
            False,
            f"{words}. Nothing was loaded, as asked for by --memory-on-unknown refuse. Run Triton by `penstock "
            "triton`, name its memory port (HOST:HTTPPORT/GRPCPORT/MEMORYPORT), or say --memory-on-unknown go-on",
        )
    return Preflight(True, "; ".join([words, *fits]))


def _demands(need: Need, report: MemoryReport, missing: Sequence[int]) -> list[tuple[str, int, Space | None]]:
    """Return what versions together want of each memory of a server: where, how much, and what is there."""
    demands: list[tuple[str, int, Space | None]] = []
    if need.host_instances or need.gpu_instances:
        # What goes to a GPU passes through the host's memory once.
        host = sum(
            need.host_instances * _instance_bytes(need, report, version)
            + (need.challengers[version] if need.gpu_instances else 0)
            for version in missing
        )
        demands.append(("", host, report.host))
    if need.gpu_instances:
        wanted = sum(need.gpu_instances * _gpu_instance_bytes(need, version) for version in missing)
        demands += [(f" GPU {gpu}", wanted, space) for gpu, space in sorted(report.gpus.items())]
        if not report.gpus:
            demands.append((" GPU", wanted, None))
    return demands


def _instance_bytes(need: Need, report: MemoryReport, version: int) -> int:
    overhead = OVERHEAD_BYTES
    stable = report.versions.get((need.model, need.stable))
    if stable is not None and stable.processes:
        overhead = max(0, stable.private_bytes // stable.processes - FILES_FACTOR * need.stable_bytes)
    return FILES_FACTOR * need.challengers[version] + overhead


def _gpu_instance_bytes(need: Need, version: int) -> int:
    return FILES_FACTOR * need.challengers[version] + OVERHEAD_BYTES


def _estimates(need: Need, reports: MemoryReports) -> str:
    return ", ".join(
        f"version {version} needs about {_estimate(need, reports, version)}" for version in need.challengers
    )


def _estimate(need: Need, reports: MemoryReports, version: int) -> str:
    most = max((_instance_bytes(need, report, version) for report in reports.known.values()), default=0)
    parts = (
        [f"{size(need.host_instances * most)} ({need.host_instances} x {size(most)})"] if need.host_instances else []
    )
    if need.gpu_instances:
        each = _gpu_instance_bytes(need, version)
        parts.append(f"{size(need.gpu_instances * each)} of each GPU ({need.gpu_instances} x {size(each)})")
    return " and ".join(parts)
