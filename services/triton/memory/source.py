"""The port through which the controller asks for memory, and its adapter for Tritons."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from services.core.errors import PenstockError
from services.core.memory.report import MemoryReport, MemoryReports
from services.core.replica_address import ReplicaAddress
from services.triton.memory.reporter import read_report

_TIMEOUT_S = 3.0
# Where ``penstock triton`` reports, and Triton's own metrics, by default: so much above its HTTP port.
_REPORTER, _METRICS = 3, 2


class MemorySource(Protocol):
    """Where the memory of all Tritons is known. Adapter: ``TritonMemory``."""

    async def reports(self) -> MemoryReports:
        """Return what every Triton says now, and why the others say nothing."""
        ...


async def reports_in_time(source: MemorySource, timeout_s: float = 15.0) -> MemoryReports:
    """Return what a source says; one that does not answer within ``timeout_s`` seconds is a problem of every Triton."""
    try:
        async with asyncio.timeout(timeout_s):
            return await source.reports()
    except TimeoutError:
        return MemoryReports(problems={"every Triton": f"no answer within {timeout_s:g} s"})


class TritonMemory:
    """Asks every Triton's memory port, or where none was named the two places where one is by default.

    Args:
        addresses: Returns the Tritons of this moment.
    """

    def __init__(self, addresses: Callable[[], Sequence[ReplicaAddress]]) -> None:
        self._addresses = addresses

    async def reports(self) -> MemoryReports:
        """See ``MemorySource``; all at the same time, each within 3 s for each of its ports."""
        addresses = list(self._addresses())
        found = await asyncio.gather(*(_asked(address) for address in addresses))
        known: dict[str, MemoryReport] = {}
        problems: dict[str, str] = {}
        for address, answer in zip(addresses, found, strict=True):
            if isinstance(answer, MemoryReport):
                known[address.name] = answer
            else:
                problems[address.name] = answer
        return MemoryReports(known, problems)


async def _asked(address: ReplicaAddress) -> MemoryReport | str:
    """Return what a Triton says, or why it says nothing."""
    ports = (address.http_port + _REPORTER, address.http_port + _METRICS)
    problems: list[str] = []
    for port in ports if address.memory_port is None else (address.memory_port,):
        try:
            report = await read_report(address.host, port, _TIMEOUT_S)
        except PenstockError as error:
            problems.append(f"port {port}: {error.message}")
            continue
        if report.host is not None or report.gpus:
            return report
        problems.append(f"port {port} says nothing of memory")
    return "; ".join(problems)
