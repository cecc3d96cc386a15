"""The inspector's report is read as TensorRT 10 and 11 write it, and what it is not is refused."""

import json
from typing import Any

import pytest
from enginebuild.targets.tensorrt.layers import layers_of

from services.core.errors import BuildFailed


def layer(name: str, *tensors: dict[str, Any]) -> dict[str, Any]:
    return {"Name": name, "LayerType": "conv", "Inputs": list(tensors), "Outputs": list(tensors)}


@pytest.mark.parametrize(
    ("tensor", "datatype"),
    [
        ({"Datatype": "Half", "Format": "Row major linear"}, "fp16"),
        ({"Datatype": "Float"}, "fp32"),
        ({"Datatype": "BFloat16"}, "bf16"),
        ({"Datatype": "Int8"}, "int8"),
        ({"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}, "int8"),
        ({"Format/Datatype": "Row major linear FP16 format"}, "fp16"),
        ({"Datatype": "Weird"}, "Weird"),
        ({}, "unknown"),
    ],
)
def test_a_tensors_precision_is_found(tensor: dict[str, Any], datatype: str) -> None:
    (found,) = layers_of(json.dumps({"Layers": [layer("a", tensor)]}), {"a": 1.0})
    assert (found.inputs, found.outputs) == ((datatype,), (datatype,))


def test_the_slowest_layer_comes_first_and_one_without_a_time_last() -> None:
    report = json.dumps({"Layers": [layer("a"), layer("b"), layer("c")], "Bindings": []})
    assert [(one.name, one.milliseconds) for one in layers_of(report, {"a": 0.1, "b": 0.2})] == [
        ("b", 0.2),
        ("a", 0.1),
        ("c", 0.0),
    ]


@pytest.mark.parametrize("report", ["no JSON", "[]", "{}", '{"Layers": ["only a name"]}'])
def test_another_form_is_refused(report: str) -> None:
    with pytest.raises(BuildFailed, match="the engine inspector's report has another form"):
        layers_of(report, {})
