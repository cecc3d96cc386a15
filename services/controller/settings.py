"""How often the controller looks, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds.

    Attributes:
        tick_s: Between two looks at the world.
        stale_after_s: Silence after which a gateway worker counts as gone.
        linger_s: Between the last worker's acknowledgement of a route and unloading what it no longer names.
        drain_timeout_s: Longest wait for acknowledgements; a worker that hangs cannot hold up a rollout for ever.
        observe_timeout_s: Longest wait for Triton's list of loaded versions, and for one look at the model repository.
    """

    tick_s: float = 1.0
    stale_after_s: float = 10.0
    linger_s: float = 2.0
    drain_timeout_s: float = 30.0
    observe_timeout_s: float = 2.0
