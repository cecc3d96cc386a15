"""How a gateway worker deals with the replicas of Triton, with every default.

The fields are the keys of ``gateway.replicas`` in the settings file; ``penstock config schema settings`` prints them
with these descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Discovery, health and second attempts."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    connect_timeout_s: Seconds = 0.5
    """Longest time for a connection to a replica to be made."""
    control_timeout_s: Seconds = 3.0
    """Longest time for a question about models: metadata, configuration, statistics."""

    resolve_interval_s: Seconds = 5.0
    """Time between two look-ups of a DNS name."""
    resolve_timeout_s: Seconds = 5.0
    """Longest time for a look-up; a failed one keeps the last answer."""
    max_replicas: Positive = 256
    """Most addresses of a DNS name that are used; more are ignored, with a warning."""
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """Longest time that requests in flight have on a replica that left the list or the name."""

    eject_after_failures: Positive = 3
    """Failures in a row after which a replica, or one version on it, gets no traffic."""
    hang_after_s: Seconds = 0.75
    """Silence, with requests in flight, after which a replica has hung; a version: also ``hang_latencies`` of p99."""
    hang_latencies: Factor = 6.0
    """How many times its 99th percentile (p99) a version may be silent, and a first attempt may take."""
    attempt_timeout_s: Seconds = 5.0
    """Longest time of a first attempt while another replica could take a second one, or ``hang_latencies`` of p99."""
    ejection_s: Seconds = 1.0
    """Time before an ejected replica or version is looked at again; doubled each time that it is soon ejected again."""
    max_ejection_s: Seconds = 30.0
    """Longest such time."""
    forgive_after_s: Seconds = 60.0
    """Time in good health after which earlier ejections are forgotten."""
    slow_start_s: Annotated[float, Field(ge=0)] = 5.0
    """Time in which the share of a new or readmitted replica grows from a tenth to the full one; 0 for at once."""
    panic_share: Share = 0.5
    """While less than this share of the replicas is well, second attempts may go to the others too."""

    ready_interval_s: Seconds = 1.0
    """Time between two looks at a replica's readiness."""
    ready_timeout_s: Seconds = 0.4
    """How long a replica may take to say that it is ready."""
    probe_interval_s: Seconds = 5.0
    """Time between two inferences of a version's warm-up sample on each replica that no other traffic vouches for."""
    probe_timeout_s: Seconds = 2.0
    """Longest time of such an inference, or ``hang_latencies`` of the version's p99 where that is longer."""
    max_probes_per_s: Seconds = 4.0
    """Most such inferences that one worker sends in a second."""

    retry_share: Share = 0.2
    """Second attempts as a share of requests."""
    retries_per_s: Annotated[float, Field(ge=0)] = 10.0
    """Second attempts in a second that are always allowed, so that they help at low traffic too."""
    retry_burst: Positive = 256
    """Second attempts that may come at once, such as when a replica with many requests in flight dies."""

    hedge: bool = False
    """Whether a request beyond its version's 95th percentile goes to a second replica too; the first answer wins."""
    hedge_floor_s: Seconds = 0.005
    """Shortest time before a hedge."""

    poison_memory_s: Annotated[float, Field(ge=0)] = 120.0
    """How long a request that broke two replicas is refused; 0 never refuses one."""
    poison_memory_size: Positive = 1024
    """Most such requests that are remembered."""
    max_sequences: Positive = 65_536
    """Most running sequences whose replica a worker remembers; the longest unused is forgotten first."""
