"""Which GPU the Triton of these settings has: as they say, or as this machine's driver says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from services.cli.settings import TritonSettings
from services.core.accelerator import Accelerator
from services.core.errors import MissingDependency


def accelerator_finder(settings: TritonSettings) -> Callable[[], Accelerator | None]:
    """Return what finds it, once; a machine without a GPU is never asked unless an engine is to be loaded."""

    @cache
    def find() -> Accelerator | None:
        from enginebuild.targets.tensorrt.gpu import find_gpu

        found = settings.compute_capability
        if found is None:
            try:
                found = find_gpu().compute_capability
            except MissingDependency:
                return None
        return Accelerator(found, settings.tensorrt)

    return find
