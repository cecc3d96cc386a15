"""What the operator may say about mirroring; whether and whereto anything is mirrored says the route table.

The fields are the keys of ``gateway.mirroring`` in the settings file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

MIB = 1024 * 1024
# Models that may each have all of their copies under way at once.
_MODELS = 8

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """Bounds on copies of live requests. All of it is per worker."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    max_in_flight: Positive = 16
    """Most copies of one model's requests that Triton works on at once; eight times as many of all models together."""
    max_queued: Positive = 256
    """Most requests of one model that wait to be copied; one more is not copied."""
    max_held_bytes: Positive = 64 * MIB
    """Most bytes of requests and answers that are held for copies, of all models; what is beyond is not copied."""
    longest_wait_s: Seconds = 1.0
    """Longest wait of a copy for capacity that live requests leave."""
    timeout_s: Seconds = 5.0
    """Longest time for the answer to a copy, and for the description of a version that gets copies."""
    max_compared_bytes: Annotated[int, Field(ge=1024)] = MIB
    """Largest output that is compared as a whole; of a larger one evenly spaced rows are, or elements of long rows."""
    drain_s: Annotated[float, Field(ge=0)] = 1.0
    """Longest time for copies under way when a worker ends; they wait for nothing else then."""

    @property
    def most_in_flight(self) -> int:
        """Most copies of all models that Triton works on at once."""
        return _MODELS * self.max_in_flight
