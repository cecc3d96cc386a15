"""BF16 graphs are valid, compute nearly what FP32 does, and keep their inputs and outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from enginebuild.convert.bf16 import convert_bf16
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from services.core.errors import BuildFailed
from tests.fakes.conv_network import network, recipe

BEYOND_FP16 = 1e6


def test_a_convolution_is_valid_in_bf16_and_close_to_fp32(tmp_path: Path) -> None:
    source = network(tmp_path / "fp32.onnx", largest=BEYOND_FP16)
    convert_bf16(source, recipe(), tmp_path / "bf16.onnx")
    found: Any = onnx.load(str(tmp_path / "bf16.onnx"))
    onnx.checker.check_model(found, full_check=True)
    kinds = {one.name: one.data_type for one in found.graph.initializer}
    assert (kinds["w"], kinds["b"], kinds["axes"]) == (TensorProto.BFLOAT16, TensorProto.BFLOAT16, TensorProto.INT64)
    types = [value.type.tensor_type.elem_type for value in (*found.graph.input, *found.graph.output)]
    assert types == [TensorProto.FLOAT, TensorProto.FLOAT]
    image = np.random.default_rng(1).random((3, 1, 8, 8), dtype=np.float32)
    (exact,) = ReferenceEvaluator(str(source)).run(None, {"image": image})
    (rounded,) = ReferenceEvaluator(found).run(None, {"image": image})
    np.testing.assert_allclose(rounded, exact, rtol=0.03)
    assert exact.max() > 1e5  # the weight that FP16 would have cut off is still there


def test_a_network_that_is_fp16_already_is_refused(tmp_path: Path) -> None:
    source = network(tmp_path / "fp16.onnx", TensorProto.FLOAT16)
    with pytest.raises(BuildFailed, match="has FP16 in it already"):
        convert_bf16(source, recipe(), tmp_path / "bf16.onnx")
    assert not (tmp_path / "bf16.onnx").exists()
