"""Requests and answers of the Open Inference Protocol v2 as bytes: made once before the load, read with little work.

The clients are our own, because the official ones cost several times the CPU of the gateway that they would measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from loadtest.dataset import Dataset
from loadtest.record import Answer, Failure
from services.core.errors import ConfigurationError
from services.core.inference import TensorSpec

DTYPES = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
INFERENCE_HEADER = "inference-header-content-length"
UNREADABLE = "unreadable answer"
WRONG_VERSION = "wrong version"


@dataclass(frozen=True, slots=True)
class Interface:
    """How a classifier is called.

    Attributes:
        model: Model name.
        version: The version to ask for; None lets the route table decide.
        inputs: Its inputs, batch dimension first.
        output: The output with one score per class.
    """

    model: str
    version: int | None
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec

    @property
    def path(self) -> str:
        """The REST path of the model."""
        return f"/v2/models/{self.model}" + (f"/versions/{self.version}" if self.version is not None else "")


@dataclass(frozen=True, slots=True)
class Payload:
    """One request as bytes, with the labels of its items.

    Attributes:
        body: What is sent: a REST body or a serialized ModelInferRequest.
        labels: Right class per item.
        json_size: Length of the JSON part of a REST body; 0 for gRPC.
    """

    body: bytes
    labels: NDArray[np.int64]
    json_size: int = 0


def fitted(dataset: Dataset, interface: Interface) -> Dataset:
    """Return the data under the names and in the datatypes of the model's inputs.

    A model with one input takes the only array of a file, whatever its name.

    Raises:
        ConfigurationError: They do not fit the model.
    """
    arrays = dataset.inputs
    if len(arrays) == len(interface.inputs) == 1:
        arrays = {interface.inputs[0].name: next(iter(arrays.values()))}
    expected = {spec.name for spec in interface.inputs if not spec.optional}
    if set(arrays) != expected:
        held, taken = ", ".join(sorted(arrays)), ", ".join(sorted(expected))
        raise ConfigurationError(f"{dataset.path}: holds {held}, but {interface.model} takes {taken}")
    if interface.output.datatype not in DTYPES:
        raise ConfigurationError(
            f"output {interface.output.name} of {interface.model} is {interface.output.datatype}; "
            "expected numbers, one score per class; name another with target.output"
        )
    return Dataset(
        {spec.name: _cast(arrays[spec.name], spec, dataset, interface) for spec in interface.inputs},
        dataset.labels,
        dataset.path,
    )


def _cast(array: NDArray[Any], spec: TensorSpec, dataset: Dataset, interface: Interface) -> NDArray[Any]:
    dtype = DTYPES.get(spec.datatype)
    fits = len(spec.dims) == array.ndim and all(
        dim in (-1, size) for dim, size in zip(spec.dims[1:], array.shape[1:], strict=True)
    )
    if dtype is None or not fits or not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ConfigurationError(
            f"{dataset.path}: '{spec.name}' is {array.dtype} {list(array.shape)}, "
            f"but {interface.model} takes {spec.datatype} {list(spec.dims)}"
        )
    return np.ascontiguousarray(array, dtype)


def rest_payloads(interface: Interface, dataset: Dataset, batch_size: int) -> list[Payload]:
    """Return every batch as a REST body: JSON that describes the tensors, then their bytes."""
    payloads: list[Payload] = []
    for rows, labels in dataset.batches(batch_size):
        data = [rows[spec.name].tobytes() for spec in interface.inputs]
        head = orjson.dumps(
            {
                "inputs": [
                    {
                        "name": spec.name,
                        "shape": rows[spec.name].shape,
                        "datatype": spec.datatype,
                        "parameters": {"binary_data_size": len(piece)},
                    }
                    for spec, piece in zip(interface.inputs, data, strict=True)
                ],
                "outputs": [{"name": interface.output.name, "parameters": {"binary_data": True}}],
            }
        )
        payloads.append(Payload(b"".join((head, *data)), labels, len(head)))
    return payloads


def grpc_payloads(interface: Interface, dataset: Dataset, batch_size: int) -> list[Payload]:
    """Return every batch as a serialized ModelInferRequest with raw contents."""
    version = "" if interface.version is None else str(interface.version)
    payloads: list[Payload] = []
    for rows, labels in dataset.batches(batch_size):
        request = service_pb2.ModelInferRequest(model_name=interface.model, model_version=version)
        for spec in interface.inputs:
            request.inputs.add(name=spec.name, datatype=spec.datatype, shape=rows[spec.name].shape)
            request.raw_input_contents.append(rows[spec.name].tobytes())
        request.outputs.add(name=interface.output.name)
        payloads.append(Payload(request.SerializeToString(), labels))
    return payloads


def read_rest(
    interface: Interface, headers: dict[str, str], body: bytes, labels: NDArray[np.int64]
) -> Answer | Failure:
    """Read and check an answer with status 200."""
    try:
        json_size = int(headers.get(INFERENCE_HEADER, len(body)))
        document = orjson.loads(body[:json_size])
        offset = json_size
        for output in document["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size", 0)
            if output["name"] == interface.output.name:
                dtype = DTYPES[output["datatype"]]
                values = np.frombuffer(body[offset : offset + size], dtype) if size else np.array(output["data"], dtype)
                version = str(document.get("model_version") or headers.get("penstock-model-version", ""))
                return _checked(interface, values, version, headers.get("penstock-role", ""), labels)
            offset += size
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Failure(UNREADABLE, f"{type(error).__name__}: {error}")
    return Failure(UNREADABLE, f"no output {interface.output.name!r} in the answer")


def read_grpc(interface: Interface, response: Any, role: str, labels: NDArray[np.int64]) -> Answer | Failure:
    """Read and check a ModelInferResponse."""
    try:
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
            if output.name == interface.output.name:
                return _checked(
                    interface, np.frombuffer(raw, DTYPES[output.datatype]), response.model_version, role, labels
                )
    except (KeyError, ValueError) as error:
        return Failure(UNREADABLE, f"{type(error).__name__}: {error}")
    return Failure(UNREADABLE, f"no output {interface.output.name!r} in the answer")


def _checked(
    interface: Interface, values: NDArray[Any], version: str, role: str, labels: NDArray[np.int64]
) -> Answer | Failure:
    if interface.version is not None and version != str(interface.version):
        return Failure(WRONG_VERSION, f"asked for version {interface.version}, answered by {version or 'none'}")
    if not values.size or values.size % len(labels):
        return Failure(UNREADABLE, f"{values.size} scores for {len(labels)} items")
    scores = values.reshape(len(labels), -1)
    # A NaN wins every argmax: an answer that is not finite is wrong whatever comes first in it.
    right = (scores.argmax(axis=1) == labels) & np.isfinite(scores).all(axis=1)
    return Answer(version, role, len(labels), int(right.sum()))
