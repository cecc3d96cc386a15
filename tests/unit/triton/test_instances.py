"""How many requests a configuration says that one Triton computes at once."""

from typing import Any

import pytest

from services.triton.instances import at_once_of, instances_of

TWO = {"instance_group": [{"count": 2, "kind": "KIND_CPU"}]}


@pytest.mark.parametrize(
    ("config", "instances", "at_once"),
    [
        ({}, 0, 0),
        ({"ensemble_scheduling": {"step": []}, "max_batch_size": 8}, 0, 0),
        (TWO, 2, 2),
        (TWO | {"max_batch_size": 8}, 2, 2),
        (TWO | {"max_batch_size": 8, "dynamic_batching": {}}, 2, 16),
        (TWO | {"max_batch_size": 8, "sequence_batching": {"direct": {}}}, 2, 16),
        (TWO | {"max_batch_size": 0, "dynamic_batching": {}}, 2, 2),
        ({"instance_group": [{"count": 2, "gpus": [0, 1, 3]}, {"kind": "KIND_CPU"}]}, 7, 7),
        ({"instance_group": [{"count": 1, "gpus": None}]}, 1, 1),
    ],
)
def test_instances_times_the_batch_that_triton_forms(config: dict[str, Any], instances: int, at_once: int) -> None:
    assert instances_of(config) == instances
    assert at_once_of(config) == at_once
