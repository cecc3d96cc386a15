"""Does a request fit its model? Nothing that fails here is ever sent to Triton.

Every message says what was found, what the model takes and which inputs it has. A check costs about 2 microseconds for
an ordinary request; only a BYTES tensor is walked through.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.core.errors import InvalidRequest
from services.core.inference import InferRequest, ModelSchema, TensorSpec
from services.core.tensor import ITEM_SIZE, Tensor, bytes_element_count, element_count

# What Triton can rank: TopkClassifications in its src/classification.cc.
_RANKABLE = frozenset(ITEM_SIZE) - {"BOOL", "FP16", "BF16", "BYTES"}


def check(request: InferRequest, schema: ModelSchema) -> None:
    """Check a request against the schema of the version that will answer it.

    Raises:
        InvalidRequest: It does not fit.
    """
    specs = schema.inputs
    seen: set[str] = set()
    for tensor in request.inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise InvalidRequest(f"{_model(schema)} has no input '{tensor.name}'; {_takes(schema)}")
        if tensor.name in seen:
            raise InvalidRequest(f"input '{tensor.name}' was sent twice; {_takes(schema)}")
        seen.add(tensor.name)
        _check_input(tensor, spec, schema)
    if len(seen) < len(specs):
        _check_missing(seen, schema)
    if schema.max_batch_size and len(seen) > 1:
        _check_equal_batches(request.inputs, schema)
    if request.outputs:
        _check_outputs(request, schema)


def _check_input(tensor: Tensor, spec: TensorSpec, schema: ModelSchema) -> None:
    name, shape, dims = tensor.name, tensor.shape, spec.dims
    if tensor.datatype != spec.datatype:
        raise InvalidRequest(
            f"input '{name}' was sent as {tensor.datatype}; expected {spec.datatype}; {_takes(schema)}"
        )
    if len(shape) != len(dims):
        raise InvalidRequest(
            f"input '{name}' has shape {list(shape)}, which is {len(shape)} dimensions; "
            f"expected {_shape(spec, schema)}; {_takes(schema)}"
        )
    count = element_count(shape, name)
    for found, expected in zip(shape, dims, strict=True):
        if found != expected and expected >= 0:
            raise InvalidRequest(
                f"input '{name}' has shape {list(shape)}; expected {_shape(spec, schema)}; {_takes(schema)}"
            )
    if schema.max_batch_size and not 1 <= shape[0] <= schema.max_batch_size:
        raise InvalidRequest(
            f"input '{name}' has batch size {shape[0]}; "
            f"{_model(schema)} takes 1 to {schema.max_batch_size} in one request"
        )
    _check_bytes(tensor, count)


def _check_bytes(tensor: Tensor, count: int) -> None:
    item_size = ITEM_SIZE[tensor.datatype]
    if item_size is None:
        found = bytes_element_count(tensor.data, tensor.name)
        if found != count:
            raise InvalidRequest(
                f"input '{tensor.name}' holds {found} BYTES elements; its shape {list(tensor.shape)} needs {count}"
            )
    elif len(tensor.data) != count * item_size:
        raise InvalidRequest(
            f"input '{tensor.name}' holds {len(tensor.data)} bytes; {tensor.datatype} {list(tensor.shape)} needs "
            f"{count * item_size}"
        )


def _check_missing(seen: set[str], schema: ModelSchema) -> None:
    missing = [name for name, spec in schema.inputs.items() if name not in seen and not spec.optional]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise InvalidRequest(f"{_quoted(missing)} {are} missing from the request; {_takes(schema)}")


def _check_equal_batches(inputs: list[Tensor], schema: ModelSchema) -> None:
    first = inputs[0]
    for tensor in inputs[1:]:
        if tensor.shape[0] != first.shape[0]:
            raise InvalidRequest(
                f"input '{tensor.name}' has batch size {tensor.shape[0]} and input '{first.name}' has "
                f"{first.shape[0]}; {_model(schema)} takes the same batch size in every input"
            )


def _check_outputs(request: InferRequest, schema: ModelSchema) -> None:
    seen: set[str] = set()
    for output in request.outputs:
        spec = schema.outputs.get(output.name)
        if spec is None:
            raise InvalidRequest(f"{_model(schema)} has no output '{output.name}'; it gives {_listed(schema.outputs)}")
        if output.name in seen:
            raise InvalidRequest(f"output '{output.name}' was requested twice; it gives {_listed(schema.outputs)}")
        seen.add(output.name)
        if output.classes:
            _check_classification(spec, request, schema)


def _check_classification(spec: TensorSpec, request: InferRequest, schema: ModelSchema) -> None:
    if spec.datatype not in _RANKABLE:
        raise InvalidRequest(
            f"output '{spec.name}' is {spec.datatype}, which has no classification; leave the parameter "
            "'classification' out"
        )
    # Triton 2.51 dies of ranking an output without elements.
    if -1 in spec.dims[1 if schema.max_batch_size else 0 :]:
        for tensor in request.inputs:
            if 0 in tensor.shape:
                raise InvalidRequest(
                    f"input '{tensor.name}' has no elements, so output '{spec.name}' may have none to rank; send "
                    "elements, or leave the parameter 'classification' out"
                )


def _model(schema: ModelSchema) -> str:
    return f"model '{schema.model}' version {schema.version}"


def _takes(schema: ModelSchema) -> str:
    return f"{_model(schema)} takes {_listed(schema.inputs)}"


def _listed(specs: dict[str, TensorSpec]) -> str:
    return ", ".join(
        f"'{spec.name}' {spec.datatype} {list(spec.dims)}{' (optional)' if spec.optional else ''}"
        for spec in specs.values()
    )


def _shape(spec: TensorSpec, schema: ModelSchema) -> str:
    notes = []
    if schema.max_batch_size:
        notes.append(f"the first dimension is the batch, at most {schema.max_batch_size}")
    if -1 in spec.dims[1 if schema.max_batch_size else 0 :]:
        notes.append("-1 stands for any size")
    return f"{list(spec.dims)} ({'; '.join(notes)})" if notes else f"{list(spec.dims)}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"input '{name}'" for name in names)
