"""A request without a JSON header: the whole body is the only input, and the model says which one that is.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md#raw-binary-request
and Triton's ``InferenceRequest::Normalize``.
"""

from __future__ import annotations

from math import prod

from services.core.errors import InvalidRequest
from services.core.inference import ModelSchema, TensorSpec
from services.core.tensor import ITEM_SIZE, Tensor

_LENGTH_BYTES = 4


def complete(tensor: Tensor, schema: ModelSchema) -> TensorSpec:
    """Name a raw body, and give it the datatype and shape that the model's only input has, in a batch of one.

    One dimension of any size is told from the number of bytes. A body for a BYTES input is one element.

    Raises:
        InvalidRequest: The model has several inputs, or its input several dimensions of any size.
    """
    if len(schema.inputs) != 1:
        raise InvalidRequest(
            f"the request is a raw body, which suits models with one input; model '{schema.model}' has "
            f"{len(schema.inputs)}: send a header that names them"
        )
    (spec,) = schema.inputs.values()
    dims = spec.dims[1:] if schema.max_batch_size else spec.dims
    free = dims.count(-1)
    item_size = ITEM_SIZE[spec.datatype]
    if free > 1 or (item_size is None and (free or prod(dims) != 1)):
        raise InvalidRequest(
            f"the request is a raw body, but the shape {list(dims)} of '{spec.name}' {spec.datatype} does not follow "
            "from its length; send a header with the shape"
        )
    if item_size is None:
        tensor.data = len(tensor.data).to_bytes(_LENGTH_BYTES, "little") + bytes(tensor.data)
    else:
        row_bytes = item_size * prod(dim for dim in dims if dim >= 0)
        dims = tuple(len(tensor.data) // row_bytes if dim < 0 and row_bytes else max(dim, 0) for dim in dims)
    tensor.name, tensor.datatype = spec.name, spec.datatype
    tensor.shape = (1, *dims) if schema.max_batch_size else dims
    return spec
