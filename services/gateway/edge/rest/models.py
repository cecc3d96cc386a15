"""The shapes of the REST documents, for OpenAPI. Tensors never pass through these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services.core.tensor import ITEM_SIZE

Datatype = Annotated[str, Field(json_schema_extra={"enum": list(ITEM_SIZE)})]
Dimension = Annotated[int, Field(ge=0)]
Scalar = bool | int | float | str
Parameters = dict[str, Scalar]


class ErrorBody(BaseModel):
    """What every refusal looks like."""

    error: str


class ServerMetadata(BaseModel):
    """Who answers, and which extensions of the protocol it serves."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output of a model; -1 stands for any size."""

    name: str
    datatype: Datatype
    shape: list[Annotated[int, Field(ge=-1)]]


class ModelMetadata(BaseModel):
    """A model's interface."""

    name: str
    versions: list[str] = []
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexRequest(BaseModel):
    """Which models the repository index shall list."""

    model_config = ConfigDict(extra="ignore", strict=True)

    ready: bool = False


class IndexEntry(BaseModel):
    """One version in Triton's repository."""

    name: str
    version: str | None = None
    state: str | None = None
    reason: str | None = None


class Pointer(BaseModel):
    """What a person finds at the root."""

    name: str
    version: str
    docs: str
    models: list[str]
    try_: list[str] = Field(serialization_alias="try")


class InputTensor(BaseModel):
    """An input: ``data`` in any nesting, or ``parameters.binary_data_size`` with the bytes after the JSON header."""

    name: str
    datatype: Datatype
    shape: list[Dimension]
    data: list[Any] = []
    parameters: Parameters = {}


class OutputRequest(BaseModel):
    """An output that is wanted: parameters ``binary_data`` and ``classification``."""

    name: str
    parameters: Parameters = {}


class InferenceRequest(BaseModel):
    """One inference request."""

    id: str = ""
    parameters: Parameters = {}
    inputs: list[InputTensor]
    outputs: list[OutputRequest] = []


class OutputTensor(BaseModel):
    """An output: flat ``data``, or ``parameters.binary_data_size``."""

    name: str
    datatype: Datatype
    shape: list[Dimension]
    data: list[Any] = []
    parameters: Parameters = {}


class InferenceResponse(BaseModel):
    """One answer, with the version that gave it."""

    id: str = ""
    model_name: str
    model_version: str
    parameters: Parameters = {}
    outputs: list[OutputTensor]
