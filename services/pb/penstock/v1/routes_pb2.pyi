from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchRoutesRequest(_message.Message):
    __slots__ = ("instance",)
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    instance: str
    def __init__(self, instance: _Optional[str] = ...) -> None: ...

class RouteTable(_message.Message):
    __slots__ = ("generation", "routes")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    generation: int
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    def __init__(self, generation: _Optional[int] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("model", "stable", "candidate", "weight_percent", "versions", "mirror", "arms", "experiment", "changed")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MIRROR_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    model: str
    stable: int
    candidate: int
    weight_percent: int
    versions: _containers.RepeatedScalarFieldContainer[int]
    mirror: Mirror
    arms: _containers.RepeatedCompositeFieldContainer[Arm]
    experiment: bool
    changed: int
    def __init__(self, model: _Optional[str] = ..., stable: _Optional[int] = ..., candidate: _Optional[int] = ..., weight_percent: _Optional[int] = ..., versions: _Optional[_Iterable[int]] = ..., mirror: _Optional[_Union[Mirror, _Mapping]] = ..., arms: _Optional[_Iterable[_Union[Arm, _Mapping]]] = ..., experiment: _Optional[bool] = ..., changed: _Optional[int] = ...) -> None: ...

class Arm(_message.Message):
    __slots__ = ("version", "weight_percent")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    version: int
    weight_percent: int
    def __init__(self, version: _Optional[int] = ..., weight_percent: _Optional[int] = ...) -> None: ...

class Mirror(_message.Message):
    __slots__ = ("version", "percent", "floor_percent", "slice_key", "relative_tolerance", "absolute_tolerance", "scores")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    FLOOR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    SLICE_KEY_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    version: int
    percent: int
    floor_percent: int
    slice_key: str
    relative_tolerance: float
    absolute_tolerance: float
    scores: bool
    def __init__(self, version: _Optional[int] = ..., percent: _Optional[int] = ..., floor_percent: _Optional[int] = ..., slice_key: _Optional[str] = ..., relative_tolerance: _Optional[float] = ..., absolute_tolerance: _Optional[float] = ..., scores: _Optional[bool] = ...) -> None: ...
