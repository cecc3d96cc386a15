"""When requests are sent to Triton as one, with every default; the keys of ``gateway.merging`` in the settings file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """What may be merged, and how much of it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    enabled: bool = True
    """Whether requests that are ready in the same turn of a worker's event loop go to Triton as one."""
    turns: Annotated[int, Field(ge=1, le=8)] = 3
    """Turns of the event loop that a request waits for others while some are in flight; no timer is involved."""
    max_requests: Annotated[int, Field(ge=2)] = 64
    """Most requests in one."""
    max_request_bytes: Annotated[int, Field(ge=1)] = 65_536
    """Largest inputs of a request that is merged: large ones gain nothing and would have to be copied."""
    max_bytes: Annotated[int, Field(ge=1)] = 262_144
    """Largest inputs of all requests in one."""
    max_rows: Annotated[int, Field(ge=2)] = 1024
    """Most rows in one, where the model's own ``max_batch_size`` is larger still."""
