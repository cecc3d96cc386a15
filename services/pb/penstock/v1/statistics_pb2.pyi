from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatisticsReport(_message.Message):
    __slots__ = ("instance", "sequence", "served_generation", "tallies", "comparisons", "without_room")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERVED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    TALLIES_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_ROOM_FIELD_NUMBER: _ClassVar[int]
    instance: str
    sequence: int
    served_generation: int
    tallies: _containers.RepeatedCompositeFieldContainer[Tally]
    comparisons: _containers.RepeatedCompositeFieldContainer[Comparison]
    without_room: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, instance: _Optional[str] = ..., sequence: _Optional[int] = ..., served_generation: _Optional[int] = ..., tallies: _Optional[_Iterable[_Union[Tally, _Mapping]]] = ..., comparisons: _Optional[_Iterable[_Union[Comparison, _Mapping]]] = ..., without_room: _Optional[_Iterable[str]] = ...) -> None: ...

class StatisticsReceipt(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("model", "version", "role", "requests", "failed", "non_finite", "latency", "predictions", "values", "unanswered")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    role: str
    requests: int
    failed: int
    non_finite: int
    latency: Histogram
    predictions: _containers.RepeatedCompositeFieldContainer[ClassCounts]
    values: _containers.RepeatedCompositeFieldContainer[ValueCounts]
    unanswered: int
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., role: _Optional[str] = ..., requests: _Optional[int] = ..., failed: _Optional[int] = ..., non_finite: _Optional[int] = ..., latency: _Optional[_Union[Histogram, _Mapping]] = ..., predictions: _Optional[_Iterable[_Union[ClassCounts, _Mapping]]] = ..., values: _Optional[_Iterable[_Union[ValueCounts, _Mapping]]] = ..., unanswered: _Optional[int] = ...) -> None: ...

class ValueCounts(_message.Message):
    __slots__ = ("what", "bin", "count", "squares")
    WHAT_FIELD_NUMBER: _ClassVar[int]
    BIN_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SQUARES_FIELD_NUMBER: _ClassVar[int]
    what: str
    bin: _containers.RepeatedScalarFieldContainer[int]
    count: _containers.RepeatedScalarFieldContainer[int]
    squares: int
    def __init__(self, what: _Optional[str] = ..., bin: _Optional[_Iterable[int]] = ..., count: _Optional[_Iterable[int]] = ..., squares: _Optional[int] = ...) -> None: ...

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

class Comparison(_message.Message):
    __slots__ = ("model", "answered", "mirrored", "all", "failed", "dropped", "skipped", "original", "copy", "outputs", "slices")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    MIRRORED_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    model: str
    answered: int
    mirrored: int
    all: PairCounts
    failed: int
    dropped: int
    skipped: int
    original: Histogram
    copy: Histogram
    outputs: _containers.RepeatedCompositeFieldContainer[OutputComparison]
    slices: _containers.RepeatedCompositeFieldContainer[SliceComparison]
    def __init__(self, model: _Optional[str] = ..., answered: _Optional[int] = ..., mirrored: _Optional[int] = ..., all: _Optional[_Union[PairCounts, _Mapping]] = ..., failed: _Optional[int] = ..., dropped: _Optional[int] = ..., skipped: _Optional[int] = ..., original: _Optional[_Union[Histogram, _Mapping]] = ..., copy: _Optional[_Union[Histogram, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[OutputComparison, _Mapping]]] = ..., slices: _Optional[_Iterable[_Union[SliceComparison, _Mapping]]] = ...) -> None: ...

class PairCounts(_message.Message):
    __slots__ = ("pairs", "differing", "mismatched", "ranked", "agree")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    DIFFERING_FIELD_NUMBER: _ClassVar[int]
    MISMATCHED_FIELD_NUMBER: _ClassVar[int]
    RANKED_FIELD_NUMBER: _ClassVar[int]
    AGREE_FIELD_NUMBER: _ClassVar[int]
    pairs: int
    differing: int
    mismatched: int
    ranked: int
    agree: int
    def __init__(self, pairs: _Optional[int] = ..., differing: _Optional[int] = ..., mismatched: _Optional[int] = ..., ranked: _Optional[int] = ..., agree: _Optional[int] = ...) -> None: ...

class OutputComparison(_message.Message):
    __slots__ = ("output", "pairs", "ranked", "agree", "non_finite", "absolute", "relative", "cosine", "divergence", "original_non_finite", "copy_non_finite", "both_non_finite")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    RANKED_FIELD_NUMBER: _ClassVar[int]
    AGREE_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    DIVERGENCE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    COPY_NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    BOTH_NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    output: str
    pairs: int
    ranked: int
    agree: int
    non_finite: int
    absolute: DifferenceHistogram
    relative: DifferenceHistogram
    cosine: DifferenceHistogram
    divergence: DifferenceHistogram
    original_non_finite: int
    copy_non_finite: int
    both_non_finite: int
    def __init__(self, output: _Optional[str] = ..., pairs: _Optional[int] = ..., ranked: _Optional[int] = ..., agree: _Optional[int] = ..., non_finite: _Optional[int] = ..., absolute: _Optional[_Union[DifferenceHistogram, _Mapping]] = ..., relative: _Optional[_Union[DifferenceHistogram, _Mapping]] = ..., cosine: _Optional[_Union[DifferenceHistogram, _Mapping]] = ..., divergence: _Optional[_Union[DifferenceHistogram, _Mapping]] = ..., original_non_finite: _Optional[int] = ..., copy_non_finite: _Optional[int] = ..., both_non_finite: _Optional[int] = ...) -> None: ...

class SliceComparison(_message.Message):
    __slots__ = ("slice", "counts")
    SLICE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    slice: str
    counts: PairCounts
    def __init__(self, slice: _Optional[str] = ..., counts: _Optional[_Union[PairCounts, _Mapping]] = ...) -> None: ...

class DifferenceHistogram(_message.Message):
    __slots__ = ("bucket", "count")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    bucket: _containers.RepeatedScalarFieldContainer[int]
    count: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, bucket: _Optional[_Iterable[int]] = ..., count: _Optional[_Iterable[int]] = ...) -> None: ...
