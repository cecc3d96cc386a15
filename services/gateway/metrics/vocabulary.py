"""What the gateway's plain counters and gauges are called outside, and the words that a scrape has for them."""

from __future__ import annotations

from typing import Final

from services.gateway.metrics.series import (
    ADMITTED,
    ATTEMPTS,
    BUFFERED,
    CONNECTIONS,
    EJECTIONS,
    FEEDBACK,
    HEALTHY,
    IN_FLIGHT,
    LIMIT,
    MIRROR,
    MIRROR_HELD,
    MIRROR_IN_FLIGHT,
    MIRROR_QUEUED,
    QUEUED,
    READMISSIONS,
    REFUSALS,
    REPLICA_IN_FLIGHT,
    RETRIED,
    SECOND_ATTEMPTS,
    SHARED_MEMORY,
    TRACED,
)

# Family of a slab: name without the prefix (and without _total), help.
COUNTERS: Final = {
    REFUSALS: ("refusals", "Requests that the admission refused before any work was done, by reason."),
    ATTEMPTS: (
        "attempts",
        "Requests sent to a Triton replica, by how they ended; second attempts and mirrored copies are counted too.",
    ),
    SECOND_ATTEMPTS: (
        "second_attempts",
        "Second attempts by the replica that got them: retry after a failure, hedge beside a slow first; or refused.",
    ),
    RETRIED: ("retried_requests", "Answered requests that took more than one attempt."),
    EJECTIONS: (
        "ejections",
        "Times that a worker took a replica, or one version on it (model and version not empty), out of its rotation.",
    ),
    READMISSIONS: ("readmissions", "Times that a worker took a replica, or one version on it, back into its rotation."),
    MIRROR: (
        "mirror",
        (
            "Requests chosen for a copy, by what became of it. Compared: same, different. Without a pair: failed (the "
            "copy alone had no answer). Not sent or given up: full, busy, resting, refused, ending, defect. Never "
            "copied: sequence, decoupled. version answered the client, mirrored got the copy; the same for the floor."
        ),
    ),
    FEEDBACK: (
        "feedback",
        "Outcomes that clients told of, by what was done with them: stored, repeated, conflicting, or refused.",
    ),
    TRACED: (
        "traced_requests",
        "Sampled requests by what became of their spans: exported, dropped (the queue was full), failed (not taken).",
    ),
}

GAUGE_FAMILIES: Final = {
    IN_FLIGHT: (
        "requests_in_flight",
        "Requests that a version was chosen for and that have no answer yet, waiting ones included.",
    ),
    ADMITTED: ("admission_in_flight", "Requests that the admission let through to Triton and that are not back."),
    QUEUED: ("admission_queued", "Requests that wait for the admission."),
    LIMIT: ("admission_limit", "Most requests that the admission lets through at once now, added up over the workers."),
    CONNECTIONS: ("connections", "Open connections of clients."),
    BUFFERED: ("buffered_bytes", "Bytes of clients' requests that the workers hold."),
    HEALTHY: ("replica_healthy_workers", "Workers that have this Triton replica in their rotation; 0: all ejected it."),
    REPLICA_IN_FLIGHT: ("replica_in_flight", "Requests that a Triton replica has now."),
    MIRROR_IN_FLIGHT: ("mirror_in_flight", "Copies that Triton has now, by the version that got them."),
    MIRROR_QUEUED: ("mirror_queued", "Requests that wait to be copied, by the version that gets the copies."),
    MIRROR_HELD: ("mirror_held_bytes", "Bytes of requests and answers that are kept for copies."),
    SHARED_MEMORY: ("shared_memory_bytes", "Bytes of requests in the memory that workers share with Triton."),
}

# The parts of an answered request's time.
PARTS: Final = {
    "edge": "parsing, choosing the version and validating in the gateway",
    "admission": "waiting until the gateway lets it through",
    "gateway": "around the exchange with Triton in the gateway: choosing a replica, writing Triton's form, reading it",
    "network": "the exchange with Triton less what Triton says it took: sockets both ways, Triton's HTTP front end, "
    "and the gateway's event loop until it reads the answer; of a stream also the time its client takes",
    "triton_queue": "Triton's queues, batching included",
    "triton_compute": "Triton's model: its inputs, execution and outputs",
    "answer": "looking at the answer and encoding it in the gateway",
    "unexplained": "what no part accounts for: what Triton counts for a request beside queue and compute, and "
    "exchanges with a Triton whose statistics could not be read",
}
