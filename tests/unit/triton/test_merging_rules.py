"""Which model versions take several requests as one."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from services.core.inference import Merging
from services.triton.merging.rules import merging_of
from services.triton.merging.settings import MergeSettings

ANY = MergeSettings()
# As Triton sends it, of a model that says nothing of batching or merging.
BARE: dict[str, Any] = {
    "name": "m",
    "platform": "",
    "backend": "onnxruntime",
    "max_batch_size": 8,
    "input": [{"name": "X", "allow_ragged_batch": False, "is_shape_tensor": False, "optional": False}],
    "output": [{"name": "Y", "is_shape_tensor": False}],
    "batch_input": [],
    "batch_output": [],
    "instance_group": [{"name": "m", "kind": "KIND_CPU", "count": 1, "gpus": []}],
    "parameters": {},
}
GOOD = BARE | {"dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0}}


def merging(settings: MergeSettings = ANY, **changes: Any) -> Merging | None:
    return merging_of(GOOD | changes, settings)


def said(value: str) -> dict[str, Any]:
    return {"penstock_merging": {"string_value": value}}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "pytorch", "tensorflow", "tensorrt"])
def test_a_backend_that_computes_row_by_row_takes_merged_requests(backend: str) -> None:
    assert merging(backend=backend) == Merging(8)


@pytest.mark.parametrize(
    "platform",
    ["onnxruntime_onnx", "pytorch_libtorch", "tensorflow_graphdef", "tensorflow_savedmodel", "tensorrt_plan"],
)
def test_a_platform_that_computes_row_by_row_takes_merged_requests(platform: str) -> None:
    assert merging(platform=platform, backend="") == Merging(8)
    without = {name: value for name, value in GOOD.items() if name != "backend"}
    assert merging_of(without | {"platform": platform}, ANY) == Merging(8)


@pytest.mark.parametrize("backend", ["python", "dali", "fil", "vllm", "tensorrtllm", "identity", "ONNXRUNTIME", ""])
def test_any_other_backend_takes_none_unless_it_says_so(backend: str) -> None:
    assert merging(backend=backend) is None
    assert merging(backend=backend, parameters=said("off")) is None
    assert merging(backend=backend, parameters=said("on")) == Merging(8)


def test_a_platform_does_not_speak_for_a_backend_of_another_kind() -> None:
    assert merging(platform="onnxruntime_onnx", backend="python") is None


def test_off_wins_over_the_backend() -> None:
    assert merging(parameters=said("off")) is None
    assert merging(parameters=said("on")) == Merging(8)


@pytest.mark.parametrize("value", ["", "ON", "true", "1", "offf"])
def test_a_value_that_means_nothing_is_off_and_is_said_in_the_log(value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert merging(parameters=said(value)) is None
        assert merging(backend="python", parameters=said(value)) is None
    assert len(caplog.records) == 2
    for part in ("model 'm'", "penstock_merging", f"'{value}'", "'on' or 'off'"):
        assert part in caplog.text


def test_what_is_as_it_should_be_is_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    for parameters in ({}, said("on"), said("off"), {"intra_op_thread_count": {"string_value": "1"}}):
        merging(parameters=parameters)
    assert not caplog.records


@pytest.mark.parametrize("parameters", [{}, said("on")])
def test_a_model_without_dynamic_batching_takes_none_whatever_it_says(parameters: dict[str, Any]) -> None:
    assert merging_of(BARE | {"parameters": parameters}, ANY) is None
    assert merging_of(BARE | {"parameters": parameters, "dynamic_batching": {}}, ANY) == Merging(8)


@pytest.mark.parametrize("most", [0, 1])
def test_a_model_of_one_row_takes_none(most: int) -> None:
    assert merging(max_batch_size=most, parameters=said("on")) is None
    without = {name: value for name, value in GOOD.items() if name != "max_batch_size"}
    assert merging_of(without, ANY) is None
    assert merging(max_batch_size=2) == Merging(2)


@pytest.mark.parametrize(
    "change",
    [
        {"response_cache": {"enable": True}},
        {"model_transaction_policy": {"decoupled": True}},
        {"sequence_batching": {"max_sequence_idle_microseconds": 1}},
        {"sequence_batching": {}},
        {"ensemble_scheduling": {"step": []}},
        {"input": [{"name": "A"}, {"name": "X", "allow_ragged_batch": True}]},
        {"input": [{"name": "A"}, {"name": "X", "is_shape_tensor": True}]},
        {"output": [{"name": "A"}, {"name": "Y", "is_shape_tensor": True}]},
        {"batch_input": [{"kind": "BATCH_ELEMENT_COUNT"}]},
        {"batch_output": [{"kind": "BATCH_SCATTER_WITH_INPUT_SHAPE"}]},
    ],
    ids=repr,
)
def test_where_the_bounds_of_a_request_mean_something_it_stays_apart_whatever_the_model_says(
    change: dict[str, Any],
) -> None:
    assert merging(**change) is None
    assert merging(parameters=said("on"), **change) is None


@pytest.mark.parametrize(
    "change",
    [
        {"response_cache": {"enable": False}},
        {"model_transaction_policy": {"decoupled": False}},
        {"input": [{"name": "X", "optional": True}]},
        {"model_warmup": [{"name": "one"}]},
        {"version_policy": {"latest": {"num_versions": 1}}},
    ],
    ids=repr,
)
def test_what_is_switched_off_or_about_something_else_changes_nothing(change: dict[str, Any]) -> None:
    assert merging(**change) == Merging(8)


@pytest.mark.parametrize(
    ("preferred", "sizes"),
    [([4, 8], (4, 8)), ([8, 4, 4], (4, 8)), ([1, 4], (4,)), ([4, 16], (4,)), ([], ())],
)
def test_preferred_sizes_are_kept_in_order_as_far_as_they_can_be_made(
    preferred: list[int], sizes: tuple[int, ...]
) -> None:
    assert merging(dynamic_batching={"preferred_batch_size": preferred}) == Merging(8, sizes)


@pytest.mark.parametrize(
    ("groups", "instances"),
    [
        ([{"kind": "KIND_CPU", "count": 3, "gpus": []}], 3),
        ([{"kind": "KIND_GPU", "count": 2, "gpus": [0, 1, 3]}], 6),
        ([{"kind": "KIND_GPU", "count": 1, "gpus": [0]}, {"kind": "KIND_CPU", "count": 2}], 3),
        ([{"kind": "KIND_MODEL"}], 1),
        ([], 1),
        ([{"count": 0}], 1),
    ],
)
def test_every_instance_on_every_gpu_counts(groups: list[dict[str, Any]], instances: int) -> None:
    assert merging(instance_group=groups) == Merging(8, (), instances)


def test_the_settings_bound_the_rows_and_switch_everything_off() -> None:
    assert merging(MergeSettings(max_rows=5)) == Merging(5)
    assert merging(MergeSettings(max_rows=5), dynamic_batching={"preferred_batch_size": [4, 8]}) == Merging(5, (4,))
    assert merging(MergeSettings(enabled=False), parameters=said("on")) is None


def test_the_one_size_that_triton_itself_puts_there_is_no_preference() -> None:
    assert merging(dynamic_batching={"preferred_batch_size": [8]}) == Merging(8)


def test_a_model_whose_preferred_sizes_cannot_be_made_is_left_alone() -> None:
    assert merging(dynamic_batching={"preferred_batch_size": [1]}) is None
