"""A body without a header is the model's only input, in a batch of one."""

from __future__ import annotations

import pytest

from services.core.errors import InvalidRequest
from services.core.inference import InferRequest, ModelSchema, TensorSpec
from services.core.tensor import Tensor
from services.gateway.validate import check


def _schema(*specs: TensorSpec, batch: int = 0) -> ModelSchema:
    return ModelSchema("m", 1, {spec.name: spec for spec in specs}, {}, batch)


def _checked(data: bytes, schema: ModelSchema) -> Tensor:
    request = InferRequest("m", inputs=[Tensor("", "", (), data)])
    check(request, schema)
    return request.inputs[0]


@pytest.mark.parametrize(
    ("dims", "batch", "data", "shape"),
    [
        ((2, 2), 0, b"\0" * 8, (2, 2)),
        ((-1, 2, 2), 8, b"\0" * 8, (1, 2, 2)),
        ((-1,), 0, b"\0" * 6, (3,)),
        ((-1, -1, 2), 8, b"\0" * 12, (1, 3, 2)),
        ((-1,), 0, b"", (0,)),
    ],
)
def test_the_shape_follows_from_the_model_and_the_length(
    dims: tuple[int, ...], batch: int, data: bytes, shape: tuple[int, ...]
) -> None:
    assert _checked(data, _schema(TensorSpec("x", "INT16", dims), batch=batch)) == Tensor("x", "INT16", shape, data)


def test_a_text_is_the_one_element_of_its_tensor() -> None:
    assert _checked(b"abc", _schema(TensorSpec("x", "BYTES", (1,)))).data == b"\3\0\0\0abc"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (_schema(TensorSpec("x", "INT16", (-1, -1))), "does not follow"),
        (_schema(TensorSpec("x", "BYTES", (-1,))), "does not follow"),
        (_schema(TensorSpec("x", "BYTES", (2,))), "does not follow"),
        (_schema(TensorSpec("x", "INT16", (1,)), TensorSpec("y", "INT16", (1,))), "has 2"),
        (_schema(TensorSpec("x", "INT16", (2,))), "holds 3 bytes"),
        (_schema(TensorSpec("x", "INT16", (-1,))), "holds 3 bytes"),
        (_schema(TensorSpec("x", "INT16", (-1, 0))), "holds 3 bytes"),
    ],
)
def test_what_does_not_follow_from_the_length_is_refused(schema: ModelSchema, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        _checked(b"abc", schema)


def test_a_named_input_without_a_datatype_is_no_raw_body() -> None:
    with pytest.raises(InvalidRequest, match="no input"):
        check(InferRequest("m", inputs=[Tensor("y", "", (), b"")]), _schema(TensorSpec("x", "INT16", (1,))))
