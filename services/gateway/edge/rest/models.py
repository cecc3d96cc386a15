"""The shapes of the REST documents, for OpenAPI. Tensors never pass through these."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
    datatype: str
    shape: list[int]


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
    """An input: ``data``, or ``parameters.binary_data_size`` with the bytes after the JSON header."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class OutputRequest(BaseModel):
    """An output that is wanted: parameters ``binary_data`` and ``classification``."""

    name: str
    parameters: dict[str, Any] | None = None


class InferenceRequest(BaseModel):
    """One inference request."""

    id: str | None = None
    parameters: dict[str, bool | int | float | str] | None = None
    inputs: list[InputTensor]
    outputs: list[OutputRequest] | None = None


class OutputTensor(BaseModel):
    """An output: flat ``data``, or ``parameters.binary_data_size``."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferenceResponse(BaseModel):
    """One answer, with the version that gave it."""

    id: str | None = None
    model_name: str
    model_version: str
    parameters: dict[str, Any] | None = None
    outputs: list[OutputTensor]
