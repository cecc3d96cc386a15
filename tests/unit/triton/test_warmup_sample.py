"""A warm-up sample of a configuration becomes a request that any Triton takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.core.inference import TensorSpec
from services.core.tensor import ITEM_SIZE
from services.triton.warmup_sample import MAX_SAMPLE_BYTES, sample_of
from services.triton.wire import decode_schema


def spec(name: str = "X", datatype: str = "FP32", *, optional: bool = False) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, datatype, (-1,), optional)}


def config(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"model_warmup": [{"name": "s", "batch_size": 4, "inputs": inputs} for inputs in samples]}


def zeros(*dims: int) -> dict[str, Any]:
    return {"data_type": "TYPE_FP32", "dims": [str(dim) for dim in dims], "zero_data": True}


def test_a_model_that_batches_gets_a_batch_of_one() -> None:
    (tensor,) = sample_of(config({"X": zeros(2, 3)}), spec(), 8)
    assert (tensor.name, tensor.datatype, tensor.shape, tensor.data) == ("X", "FP32", (1, 2, 3), bytes(24))
    (tensor,) = sample_of(config({"X": zeros(2, 3)}), spec(), 0)
    assert tensor.shape == (2, 3)


def test_the_smallest_of_several_is_taken() -> None:
    (tensor,) = sample_of(config({"X": zeros(9)}, {"X": zeros(2)}), spec(), 0)
    assert tensor.shape == (2,)


@pytest.mark.parametrize("datatype", sorted(ITEM_SIZE))
@pytest.mark.parametrize("kind", ["zero_data", "random_data"])
def test_every_datatype_has_samples_of_the_right_size(datatype: str, kind: str) -> None:
    value = {"data_type": "TYPE_X", "dims": [5], kind: True}
    (tensor,) = sample_of(config({"X": value}), spec(datatype=datatype), 0)
    if datatype == "BYTES":
        assert tensor.data == bytes(4 * 5), "five empty strings"
    else:
        assert len(tensor.data) == 5 * (ITEM_SIZE[datatype] or 0)
    if datatype.startswith("FP"):
        values = np.frombuffer(tensor.data, f"<f{ITEM_SIZE[datatype]}")
        assert np.isfinite(values).all()
        assert bool(values.any()) == (kind == "random_data")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"model_warmup": []},
        config({}),
        config({"Y": zeros(1)}),
        config({"X": {"data_type": "TYPE_FP32", "dims": [1], "input_data_file": "x"}}),
        config({"X": zeros(MAX_SAMPLE_BYTES)}),
        config({"X": zeros(1 << 60, 1 << 60)}),
        config({"X": zeros(-1)}),
    ],
)
def test_what_cannot_be_built_is_no_sample(given: dict[str, Any]) -> None:
    assert sample_of(given, spec(), 0) == ()


def test_inputs_that_may_be_left_out_need_no_sample() -> None:
    inputs = spec() | spec("O", optional=True)
    assert len(sample_of(config({"X": zeros(1)}), inputs, 0)) == 1
    assert sample_of(config({"O": zeros(1)}), inputs, 0) == ()


def test_the_schema_has_the_sample_unless_a_probe_would_disturb() -> None:
    metadata = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 1]}], "outputs": []}
    warm = config({"X": zeros(1)}) | {"max_batch_size": 1}
    assert decode_schema("m", 1, metadata, warm).sample
    decoupled = decode_schema("m", 1, metadata, warm | {"model_transaction_policy": {"decoupled": True}})
    assert decoupled.decoupled
    assert not decoupled.sample
    assert not decode_schema("m", 1, metadata, warm | {"sequence_batching": {}}).sample
