"""The part of a manifest that only an engine of TensorRT has: how it was built, and what speaks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLayerEntry:
    """One layer of an engine, as TensorRT's inspector and profiler show it.

    Attributes:
        name: Its name; of fused layers all of theirs.
        kind: What it is.
        inputs: Precisions of its inputs.
        outputs: Precisions of its outputs.
        milliseconds: Mean time at the measured batch size.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class RebuildEntry:
    """How far engines of one graph differ that were built one after the other, each with timings of its own.

    Attributes:
        builds: How many were built, the published one among them.
        identical: How many of the others have its very bytes.
        max_difference: Largest difference of an output from its own, in shares of that output's largest value.
        size_bytes: The smallest and the largest of them.
        latency_ms: The fastest and the slowest of them.
    """

    builds: int
    identical: int
    max_difference: float
    size_bytes: tuple[int, ...]
    latency_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """How an engine was built, and what speaks for it.

    Attributes:
        onnx_sha256: Digest of the graph that it was built from.
        level: The builder's optimisation level.
        workspace_mib: Most GPU memory of one layer; None for no bound.
        hardware_compatible: Whether it also runs on other GPUs from Ampere on.
        version_compatible: Whether later versions of TensorRT load it.
        compared_with: What its outputs were compared with.
        agreement: Largest difference from that, by output, in shares of that output's largest value.
        rebuild: How far further builds differ; None where it was built once.
        layers: Its layers, slowest first.
    """

    onnx_sha256: str
    level: int
    workspace_mib: int | None
    hardware_compatible: bool
    version_compatible: bool
    compared_with: str
    agreement: dict[str, float]
    rebuild: RebuildEntry | None
    layers: tuple[EngineLayerEntry, ...]
