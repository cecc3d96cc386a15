"""A ``MemoryReport`` as Prometheus text, and back: what ``penstock triton`` says, or Triton's own metrics. Pure.

Triton's metrics name the GPUs' memory and the machine's, by 2.51 the latter as 0 for its first two seconds, and know
neither a container's limit nor which version takes what.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from services.core.errors import UpstreamFailure
from services.core.memory.report import MemoryReport, Space, VersionMemory

TOTAL = "penstock_memory_total_bytes"
AVAILABLE = "penstock_memory_available_bytes"
PRIVATE = "penstock_memory_version_private_bytes"
PROCESSES = "penstock_memory_version_processes"
STARTED = "penstock_memory_version_started_seconds"
_HELP = {
    TOTAL: "Memory of the container or machine that Triton runs in.",
    AVAILABLE: "What is left of it.",
    PRIVATE: "Private memory of a model version's own processes.",
    PROCESSES: "How many processes run a model version.",
    STARTED: "When the youngest of them began, seconds since the epoch.",
}
_GPU_TOTAL, _GPU_USED, _GPU = "nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes", "gpu_uuid"
_CPU_TOTAL, _CPU_USED = "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes"
_SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Labels = Mapping[str, str]


def exposed(report: MemoryReport) -> str:
    """Return a report as text."""
    return "".join(f"{line}\n" for line in _lines(report))


def _lines(report: MemoryReport) -> Iterator[str]:
    rows: dict[str, list[tuple[str, float]]] = {name: [] for name in (*_HELP, _GPU_TOTAL, _GPU_USED)}
    if report.host is not None:
        rows[TOTAL].append(("", report.host.total_bytes))
        rows[AVAILABLE].append(("", report.host.available_bytes))
    for (model, version), memory in sorted(report.versions.items()):
        labels = f'{{model="{model}",version="{version}"}}'
        rows[PRIVATE].append((labels, memory.private_bytes))
        rows[PROCESSES].append((labels, memory.processes))
        rows[STARTED].append((labels, memory.started_at))
    for gpu, space in sorted(report.gpus.items()):
        labels = f'{{{_GPU}="{gpu}"}}'
        rows[_GPU_TOTAL].append((labels, space.total_bytes))
        rows[_GPU_USED].append((labels, space.total_bytes - space.available_bytes))
    for name, samples in rows.items():
        if samples:
            yield f"# HELP {name} {_HELP.get(name, 'As Triton says it.')}"
            yield f"# TYPE {name} gauge"
            yield from (f"{name}{labels} {value}" for labels, value in samples)


def report_in(text: str) -> MemoryReport:
    """Return the report in a text; what it does not say is not in it.

    Raises:
        UpstreamFailure: A number that matters is none.
    """
    samples = list(_samples(text))
    host = _space(samples, TOTAL, AVAILABLE, {}) or _free(_space(samples, _CPU_TOTAL, _CPU_USED, {}))
    gpus: dict[str, Space] = {}
    versions: dict[tuple[str, int], VersionMemory] = {}
    for name, labels, value in samples:
        if name == _GPU_TOTAL and _GPU in labels:
            space = _free(_space(samples, _GPU_TOTAL, _GPU_USED, {_GPU: labels[_GPU]}))
            gpus |= {labels[_GPU]: space} if space is not None else {}
        elif name == PRIVATE and labels.get("version", "").isdigit() and "model" in labels:
            processes, started = _value(samples, PROCESSES, labels), _value(samples, STARTED, labels)
            if processes is not None and started is not None:
                versions[labels["model"], int(labels["version"])] = VersionMemory(int(value), int(processes), started)
    return MemoryReport(host, gpus, versions)


def _samples(text: str) -> Iterator[tuple[str, Labels, float]]:
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line.strip())
        if match is None or "memory" not in match["name"]:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise UpstreamFailure(f"memory cannot be read from '{line.strip()[:200]}'; expected a number of bytes")
        yield match["name"], dict(_LABEL.findall(match["labels"] or "")), value


def _value(samples: list[tuple[str, Labels, float]], name: str, labels: Labels) -> float | None:
    return next((value for known, its, value in samples if known == name and its == labels), None)


def _space(samples: list[tuple[str, Labels, float]], total: str, rest: str, labels: Labels) -> Space | None:
    """Return what two series of the same labels say, the second as it is; None without both, or of nothing."""
    found, other = _value(samples, total, labels), _value(samples, rest, labels)
    return Space(int(found), int(other)) if found and other is not None else None


def _free(used: Space | None) -> Space | None:
    """Return the space of which the second number was what is used."""
    return used and Space(used.total_bytes, max(0, used.total_bytes - used.available_bytes))
