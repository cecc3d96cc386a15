"""What the operator may say about admission; the defaults suit a model that nobody has measured.

The fields are the keys of ``gateway.admission`` in the settings file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """How many requests go to Triton at once, and how long others may wait. All of it is per worker."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    max_in_flight: Positive = 512
    """Most requests forwarded at once, of all models together; one model never takes the last fifth of them."""
    fixed_limit: NotNegative = 0
    """Most requests of one model version forwarded at once; 0 lets the limit adapt to what the version can use."""
    initial_limit: NotNegative = 0
    """Where an adapting limit begins, and where it comes back to while nothing fills it; 0 for this worker's share of
    three batches for every instance and replica, as the model's configuration has them, at most 32."""
    least_limit: Positive = 2
    """Below this an adapting limit never goes."""
    stream_limit: Positive = 64
    """Most streams of one decoupled model version at once: their length says nothing about load, so nothing adapts."""

    max_queued: NotNegative = 1024
    """Most requests that wait for one model version; 0 refuses whatever cannot be forwarded at once."""
    queue_delay_s: Seconds = 0.01
    """Longest wait to accept a request for while a version is overloaded, so that queues do not stand full; a quarter
    of the version's latency where that is longer."""
    burst_delay_s: Seconds = 0.2
    """Longest wait to accept a request for while a version is not overloaded; twice its latency where that is
    longer."""
    burst_requests: Positive = 64
    """Requests that may always wait for a version that is not overloaded: what comes while a replica is given up."""
    stall_s: Seconds = 1.0
    """Silence of a version until which it counts as a replica that is about to be given up, and not as slowness."""
    longest_wait_s: Seconds = 1.0
    """A request that waited so long after all, because the model slowed down meanwhile, is refused; twice the version's
    latency where that is longer."""
    default_priority: Positive = 2
    """Where a request without a priority stands: 1 goes before it, 3 and more wait for it."""
