"""When tensors go to Triton through shared memory; the keys of ``gateway.shared_memory`` in the settings file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field


@dataclass(frozen=True, slots=True)
class SharedMemorySettings:
    """Which tensors, and how much memory for them."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """Whether large inputs go to a Triton at a loopback address through memory in /dev/shm, where it can open it."""
    max_bytes: Annotated[int, Field(ge=1 << 20)] = 32 * 1024 * 1024
    """Memory of one worker, taken at the first large request; what finds no room goes through the socket."""
    min_input_bytes: Annotated[int, Field(ge=1)] = 65_536
    """Smallest input that goes this way."""
    rest_s: Annotated[float, Field(ge=1)] = 60.0
    """How long memory is left alone after a request that Triton may still be reading: one that was given up."""
    retry_s: Annotated[float, Field(gt=0)] = 60.0
    """Time after which a Triton that could not open the memory is asked again."""
