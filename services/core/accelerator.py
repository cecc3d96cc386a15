"""Whether an engine of TensorRT can run where a Triton is: it is tied to the GPU and to TensorRT's version."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.records.engine_record import EngineEntry
from services.core.records.manifest import TargetEntry

_AMPERE = (8, 0)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The GPU of a Triton.

    Attributes:
        compute_capability: As NVIDIA writes it: ``9.0``.
        tensorrt: Version of Triton's TensorRT, such as ``10.13.3``; None where nobody said.
    """

    compute_capability: str
    tensorrt: str | None = None

    def __post_init__(self) -> None:
        _numbers("compute_capability", self.compute_capability)
        if self.tensorrt is not None:
            _numbers("tensorrt", self.tensorrt)


def misfit(target: TargetEntry, engine: EngineEntry | None, there: Accelerator | None) -> str | None:
    """Return why a version cannot run there, for a message; None where it can.

    Args:
        target: What it was built for.
        engine: How it was built; None where it is no engine.
        there: Where it is to run; None where there is no GPU, or none that anybody knows of.
    """
    if engine is None:
        return None
    built = f"an engine for compute capability {target.compute_capability} ({target.device})"
    if there is None:
        return (
            f"{built}, and it is not known which GPU Triton has: set triton.compute_capability, "
            "or serve it on a machine with an NVIDIA driver"
        )
    if not _gpu_fits(target.compute_capability, engine, there):
        return f"{built}; Triton's GPU has {there.compute_capability}: build it there, or with hardware_compatible"
    if there.tensorrt is not None and not _version_fits(target.version, engine, there.tensorrt):
        return (
            f"an engine of TensorRT {target.version}; Triton has {there.tensorrt}: "
            "build it with that, or with version_compatible"
        )
    return None


def _gpu_fits(built_for: str | None, engine: EngineEntry, there: Accelerator) -> bool:
    if built_for == there.compute_capability:
        return True
    found = _numbers("compute_capability", there.compute_capability)
    return engine.hardware_compatible and found >= _AMPERE


def _version_fits(built_with: str, engine: EngineEntry, there: str) -> bool:
    """Return whether the numbers that both name are equal; a version-compatible engine only asks for a later one."""
    built, found = _numbers("tensorrt", built_with), _numbers("tensorrt", there)
    shared = min(len(built), len(found))
    if engine.version_compatible:
        return built[0] == found[0] and found[:shared] >= built[:shared]
    return built[:shared] == found[:shared]


def _numbers(what: str, version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        raise ValueError(f"{what} '{version}'; expected numbers with points between, such as 9.0") from None
