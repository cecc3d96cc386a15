from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SendFeedbackRequest(_message.Message):
    __slots__ = ("model", "feedback")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    model: str
    feedback: _containers.RepeatedCompositeFieldContainer[RequestFeedback]
    def __init__(self, model: _Optional[str] = ..., feedback: _Optional[_Iterable[_Union[RequestFeedback, _Mapping]]] = ...) -> None: ...

class RequestFeedback(_message.Message):
    __slots__ = ("id", "model_version", "outcomes")
    class OutcomesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    id: str
    model_version: int
    outcomes: _containers.ScalarMap[str, float]
    def __init__(self, id: _Optional[str] = ..., model_version: _Optional[int] = ..., outcomes: _Optional[_Mapping[str, float]] = ...) -> None: ...

class SendFeedbackResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[OutcomeResult]
    def __init__(self, results: _Optional[_Iterable[_Union[OutcomeResult, _Mapping]]] = ...) -> None: ...

class OutcomeResult(_message.Message):
    __slots__ = ("id", "outcome", "result", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    outcome: str
    result: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., outcome: _Optional[str] = ..., result: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
