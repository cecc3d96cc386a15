from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatisticsReport(_message.Message):
    __slots__ = ("instance", "sequence", "served_generation", "tallies")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERVED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    TALLIES_FIELD_NUMBER: _ClassVar[int]
    instance: str
    sequence: int
    served_generation: int
    tallies: _containers.RepeatedCompositeFieldContainer[Tally]
    def __init__(self, instance: _Optional[str] = ..., sequence: _Optional[int] = ..., served_generation: _Optional[int] = ..., tallies: _Optional[_Iterable[_Union[Tally, _Mapping]]] = ...) -> None: ...

class StatisticsReceipt(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("model", "version", "role", "requests", "failed", "non_finite", "latency", "predictions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    role: str
    requests: int
    failed: int
    non_finite: int
    latency: Histogram
    predictions: _containers.RepeatedCompositeFieldContainer[ClassCounts]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., role: _Optional[str] = ..., requests: _Optional[int] = ..., failed: _Optional[int] = ..., non_finite: _Optional[int] = ..., latency: _Optional[_Union[Histogram, _Mapping]] = ..., predictions: _Optional[_Iterable[_Union[ClassCounts, _Mapping]]] = ...) -> None: ...

class ClassCounts(_message.Message):
    __slots__ = ("output", "counts")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    output: str
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, output: _Optional[str] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class Histogram(_message.Message):
    __slots__ = ("bucket", "count", "sum_s")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUM_S_FIELD_NUMBER: _ClassVar[int]
    bucket: _containers.RepeatedScalarFieldContainer[int]
    count: _containers.RepeatedScalarFieldContainer[int]
    sum_s: float
    def __init__(self, bucket: _Optional[_Iterable[int]] = ..., count: _Optional[_Iterable[int]] = ..., sum_s: _Optional[float] = ...) -> None: ...
