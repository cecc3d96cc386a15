"""How much of a model one Triton computes at once. Pure: Triton's configuration in.

Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def instances_of(config: Mapping[str, Any]) -> int:
    """Return how many instances of a version one Triton has; 0 where its configuration names none, as an ensemble's.

    Raises:
        AttributeError, TypeError, ValueError: It is not what Triton sends.
    """
    return sum(
        int(group.get("count", 1)) * (len(group.get("gpus") or ()) or 1) for group in config.get("instance_group", ())
    )


def at_once_of(config: Mapping[str, Any]) -> int:
    """Return how many requests of a version one Triton computes at once: a full batch in each instance.

    Without a scheduler that batches, a batch is what one request brings. 0 where the configuration does not say.

    Raises:
        AttributeError, TypeError, ValueError: It is not what Triton sends.
    """
    batches = "dynamic_batching" in config or "sequence_batching" in config
    return instances_of(config) * (max(1, int(config.get("max_batch_size", 0))) if batches else 1)
