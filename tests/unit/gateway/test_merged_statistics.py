"""Statistics of replicas add up to one document of Triton's form."""

from __future__ import annotations

from typing import Any

import pytest

from services.core.errors import UpstreamFailure
from services.gateway.merged_statistics import merge_statistics


def _row(version: str, count: int, last: int, batches: dict[int, int]) -> dict[str, Any]:
    return {
        "name": "digits",
        "version": version,
        "last_inference": last,
        "inference_count": count,
        "execution_count": count,
        "inference_stats": {"success": {"count": count, "ns": 10 * count}, "fail": {"count": 0, "ns": 0}},
        "response_stats": {"0": {"success": {"count": count, "ns": count}}},
        "batch_stats": [
            {"batch_size": size, "compute_infer": {"count": many, "ns": many}} for size, many in batches.items()
        ],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": 100}],
    }


def test_counts_and_times_of_replicas_add_up_and_the_last_inference_is_the_latest() -> None:
    first, second = _row("1", 3, 500, {1: 3}), _row("1", 4, 400, {4: 1, 1: 2})
    found = merge_statistics([{"model_stats": [first]}, {"model_stats": [second]}])
    (row,) = found["model_stats"]
    assert row == _row("1", 7, 500, {1: 5, 4: 1}) | {"memory_usage": [{"type": "CPU", "id": 0, "byte_size": 200}]}


def test_one_replica_is_told_as_it_is() -> None:
    document = {"model_stats": [_row("1", 3, 500, {1: 3}), _row("2", 1, 1, {})]}
    assert merge_statistics([document]) == document


def test_a_version_that_only_one_replica_has_is_there_and_the_order_is_by_number() -> None:
    found = merge_statistics([{"model_stats": [_row("10", 1, 1, {})]}, {"model_stats": [_row("9", 1, 1, {})]}])
    assert [row["version"] for row in found["model_stats"]] == ["9", "10"]


def test_merging_leaves_the_documents_as_they_were() -> None:
    first = {"model_stats": [_row("1", 3, 500, {1: 3})]}
    merge_statistics([first, {"model_stats": [_row("1", 3, 500, {1: 3})]}])
    assert first == {"model_stats": [_row("1", 3, 500, {1: 3})]}


@pytest.mark.parametrize("document", [{}, [], {"model_stats": [{}]}, {"model_stats": [{"name": "x", "version": "y"}]}])
def test_what_is_no_statistics_is_the_upstreams_fault(document: Any) -> None:
    with pytest.raises(UpstreamFailure, match="no sense"):
        merge_statistics([document])
