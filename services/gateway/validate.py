"""Does a request fit its model? Nothing that fails here is ever sent to Triton.

Every message says what was found, what the model takes and which inputs it has. A check costs about 2 microseconds for
an ordinary request; only a BYTES tensor is walked through.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.core.errors import InvalidRequest
from services.core.inference import InferRequest, ModelSchema, RequestedOutput, TensorSpec
from services.core.tensor import ITEM_SIZE, Tensor, bytes_element_count, element_count
from services.gateway.limits import Limits
from services.gateway.parameters import longer_than
from services.gateway.raw_body import complete

# What Triton can rank: TopkClassifications in its src/classification.cc.
_RANKABLE = frozenset(ITEM_SIZE) - {"BOOL", "FP16", "BF16", "BYTES"}
_DEFAULTS = Limits()
# Dimensions of a shape that a message shows.
_SHOWN = 32


def check(request: InferRequest, schema: ModelSchema, limits: Limits = _DEFAULTS) -> None:
    """Check a request against the schema of the version that will answer it, and complete what it leaves to the model.

    Raises:
        InvalidRequest: It does not fit, or is beyond a limit.
    """
    specs = schema.inputs
    inputs = request.inputs
    if len(inputs) > limits.max_inputs:
        raise InvalidRequest(f"the request has {len(inputs)} inputs; at most {limits.max_inputs} are taken")
    if request.id and longer_than(request.id, limits.max_name_bytes):
        raise InvalidRequest(
            f"the request's id has {len(request.id)} characters; at most {limits.max_name_bytes} bytes are taken"
        )
    seen: set[str] = set()
    for tensor in inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            if tensor.name or tensor.datatype or len(inputs) > 1:
                raise InvalidRequest(f"{_model(schema)} has no input '{tensor.name}'; {_takes(schema)}")
            spec = complete(tensor, schema)
        if tensor.name in seen:
            raise InvalidRequest(f"input '{tensor.name}' was sent twice; {_takes(schema)}")
        seen.add(tensor.name)
        _check_input(tensor, spec, schema, limits)
    if len(seen) < len(specs):
        _check_missing(seen, schema)
    if schema.max_batch_size and len(seen) > 1:
        _check_equal_batches(inputs, schema)
    if request.outputs:
        _check_outputs(request, schema, limits)


def _check_input(tensor: Tensor, spec: TensorSpec, schema: ModelSchema, limits: Limits) -> None:
    name, shape, dims = tensor.name, tensor.shape, spec.dims
    if tensor.datatype != spec.datatype:
        raise InvalidRequest(
            f"input '{name}' was sent as {tensor.datatype}; expected {spec.datatype}; {_takes(schema)}"
        )
    if len(shape) != len(dims):
        raise InvalidRequest(
            f"input '{name}' has shape {list(shape[:_SHOWN])}, which is {len(shape)} dimensions; "
            f"expected {_shape(spec, schema)}; {_takes(schema)}"
        )
    count = element_count(shape, name)
    for found, expected in zip(shape, dims, strict=True):
        if found != expected and expected >= 0:
            raise InvalidRequest(
                f"input '{name}' has shape {list(shape)}; expected {_shape(spec, schema)}; {_takes(schema)}"
            )
        if found > limits.max_dimension:
            raise InvalidRequest(
                f"input '{name}' has shape {list(shape)}; at most {limits.max_dimension} are taken in one dimension"
            )
    if schema.max_batch_size and not 1 <= shape[0] <= schema.max_batch_size:
        raise InvalidRequest(
            f"input '{name}' has batch size {shape[0]}; "
            f"{_model(schema)} takes 1 to {schema.max_batch_size} in one request"
        )
    item_size = ITEM_SIZE[tensor.datatype]
    if item_size is None:
        _check_strings(tensor, count, limits)
    elif len(tensor.data) != count * item_size:
        raise InvalidRequest(
            f"input '{name}' holds {len(tensor.data)} bytes; {tensor.datatype} {list(shape)} needs {count * item_size}"
        )


def _check_strings(tensor: Tensor, count: int, limits: Limits) -> None:
    if count > limits.max_strings:
        raise InvalidRequest(
            f"input '{tensor.name}' has {count} BYTES elements; at most {limits.max_strings} are taken in one tensor"
        )
    found = bytes_element_count(tensor.data, tensor.name, count, limits.max_string_bytes)
    if found != count:
        more = "more" if found > count else f"{found} BYTES element{'' if found == 1 else 's'}"
        raise InvalidRequest(
            f"input '{tensor.name}' holds {more}; its shape {list(tensor.shape)} needs {count} BYTES elements"
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


def _check_outputs(request: InferRequest, schema: ModelSchema, limits: Limits) -> None:
    if len(request.outputs) > limits.max_outputs:
        raise InvalidRequest(f"{len(request.outputs)} outputs were requested; at most {limits.max_outputs} are given")
    seen: set[str] = set()
    for output in request.outputs:
        spec = schema.outputs.get(output.name)
        if spec is None:
            raise InvalidRequest(f"{_model(schema)} has no output '{output.name}'; it gives {_listed(schema.outputs)}")
        seen.add(output.name)
        if output.classes:
            _check_classification(spec, request, schema)
    if len(seen) < len(request.outputs):
        # As Triton: an output that is asked for again is given once, as it was asked for first.
        first: dict[str, RequestedOutput] = {}
        for output in request.outputs:
            first.setdefault(output.name, output)
        request.outputs = list(first.values())


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
