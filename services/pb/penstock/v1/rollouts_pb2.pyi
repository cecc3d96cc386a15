from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RolloutSpec(_message.Message):
    __slots__ = ("model", "version", "strategy", "steps", "analysis", "max_step_duration_s", "on_inconclusive", "copies", "metrics", "webhooks", "memory", "experiment")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ANALYSIS_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_DURATION_S_FIELD_NUMBER: _ClassVar[int]
    ON_INCONCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    COPIES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    WEBHOOKS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    strategy: str
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    analysis: Analysis
    max_step_duration_s: float
    on_inconclusive: str
    copies: Copies
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    webhooks: _containers.RepeatedCompositeFieldContainer[Webhook]
    memory: Memory
    experiment: Experiment
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., strategy: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., analysis: _Optional[_Union[Analysis, _Mapping]] = ..., max_step_duration_s: _Optional[float] = ..., on_inconclusive: _Optional[str] = ..., copies: _Optional[_Union[Copies, _Mapping]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., webhooks: _Optional[_Iterable[_Union[Webhook, _Mapping]]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ..., experiment: _Optional[_Union[Experiment, _Mapping]] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("weight_percent", "duration_s", "min_requests", "mirror_percent")
    WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MIRROR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    weight_percent: int
    duration_s: float
    min_requests: int
    mirror_percent: int
    def __init__(self, weight_percent: _Optional[int] = ..., duration_s: _Optional[float] = ..., min_requests: _Optional[int] = ..., mirror_percent: _Optional[int] = ...) -> None: ...

class Analysis(_message.Message):
    __slots__ = ("max_error_increase", "max_stable_error", "max_p99_ratio", "p99_floor_s", "slow_s", "max_slow_increase", "max_prediction_shift", "max_disagreement", "false_rollback_bound", "false_promotion_bound", "max_score_shift", "max_non_finite_increase")
    MAX_ERROR_INCREASE_FIELD_NUMBER: _ClassVar[int]
    MAX_STABLE_ERROR_FIELD_NUMBER: _ClassVar[int]
    MAX_P99_RATIO_FIELD_NUMBER: _ClassVar[int]
    P99_FLOOR_S_FIELD_NUMBER: _ClassVar[int]
    SLOW_S_FIELD_NUMBER: _ClassVar[int]
    MAX_SLOW_INCREASE_FIELD_NUMBER: _ClassVar[int]
    MAX_PREDICTION_SHIFT_FIELD_NUMBER: _ClassVar[int]
    MAX_DISAGREEMENT_FIELD_NUMBER: _ClassVar[int]
    FALSE_ROLLBACK_BOUND_FIELD_NUMBER: _ClassVar[int]
    FALSE_PROMOTION_BOUND_FIELD_NUMBER: _ClassVar[int]
    MAX_SCORE_SHIFT_FIELD_NUMBER: _ClassVar[int]
    MAX_NON_FINITE_INCREASE_FIELD_NUMBER: _ClassVar[int]
    max_error_increase: float
    max_stable_error: float
    max_p99_ratio: float
    p99_floor_s: float
    slow_s: float
    max_slow_increase: float
    max_prediction_shift: float
    max_disagreement: float
    false_rollback_bound: float
    false_promotion_bound: float
    max_score_shift: _struct_pb2.Value
    max_non_finite_increase: _struct_pb2.Value
    def __init__(self, max_error_increase: _Optional[float] = ..., max_stable_error: _Optional[float] = ..., max_p99_ratio: _Optional[float] = ..., p99_floor_s: _Optional[float] = ..., slow_s: _Optional[float] = ..., max_slow_increase: _Optional[float] = ..., max_prediction_shift: _Optional[float] = ..., max_disagreement: _Optional[float] = ..., false_rollback_bound: _Optional[float] = ..., false_promotion_bound: _Optional[float] = ..., max_score_shift: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., max_non_finite_increase: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class Copies(_message.Message):
    __slots__ = ("floor_percent", "slice_key", "relative_tolerance", "absolute_tolerance", "scores")
    FLOOR_PERCENT_FIELD_NUMBER: _ClassVar[int]
    SLICE_KEY_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    floor_percent: int
    slice_key: str
    relative_tolerance: float
    absolute_tolerance: float
    scores: bool
    def __init__(self, floor_percent: _Optional[int] = ..., slice_key: _Optional[str] = ..., relative_tolerance: _Optional[float] = ..., absolute_tolerance: _Optional[float] = ..., scores: _Optional[bool] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("reserve", "on_unknown", "leak_check", "max_growth_mib_per_h", "max_growth_share_per_h", "window_s", "interval_s")
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    ON_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    LEAK_CHECK_FIELD_NUMBER: _ClassVar[int]
    MAX_GROWTH_MIB_PER_H_FIELD_NUMBER: _ClassVar[int]
    MAX_GROWTH_SHARE_PER_H_FIELD_NUMBER: _ClassVar[int]
    WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    reserve: float
    on_unknown: str
    leak_check: str
    max_growth_mib_per_h: float
    max_growth_share_per_h: float
    window_s: float
    interval_s: float
    def __init__(self, reserve: _Optional[float] = ..., on_unknown: _Optional[str] = ..., leak_check: _Optional[str] = ..., max_growth_mib_per_h: _Optional[float] = ..., max_growth_share_per_h: _Optional[float] = ..., window_s: _Optional[float] = ..., interval_s: _Optional[float] = ...) -> None: ...

class Experiment(_message.Message):
    __slots__ = ("outcome", "arms", "min_lift", "significance", "min_outcomes", "on_win")
    class Outcome(_message.Message):
        __slots__ = ("name", "kind", "low", "high", "better")
        NAME_FIELD_NUMBER: _ClassVar[int]
        KIND_FIELD_NUMBER: _ClassVar[int]
        LOW_FIELD_NUMBER: _ClassVar[int]
        HIGH_FIELD_NUMBER: _ClassVar[int]
        BETTER_FIELD_NUMBER: _ClassVar[int]
        name: str
        kind: str
        low: float
        high: float
        better: str
        def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., better: _Optional[str] = ...) -> None: ...
    class Arm(_message.Message):
        __slots__ = ("version", "weight_percent")
        VERSION_FIELD_NUMBER: _ClassVar[int]
        WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
        version: int
        weight_percent: int
        def __init__(self, version: _Optional[int] = ..., weight_percent: _Optional[int] = ...) -> None: ...
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    MIN_LIFT_FIELD_NUMBER: _ClassVar[int]
    SIGNIFICANCE_FIELD_NUMBER: _ClassVar[int]
    MIN_OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    ON_WIN_FIELD_NUMBER: _ClassVar[int]
    outcome: Experiment.Outcome
    arms: _containers.RepeatedCompositeFieldContainer[Experiment.Arm]
    min_lift: float
    significance: float
    min_outcomes: int
    on_win: str
    def __init__(self, outcome: _Optional[_Union[Experiment.Outcome, _Mapping]] = ..., arms: _Optional[_Iterable[_Union[Experiment.Arm, _Mapping]]] = ..., min_lift: _Optional[float] = ..., significance: _Optional[float] = ..., min_outcomes: _Optional[int] = ..., on_win: _Optional[str] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "query", "at_most", "at_least", "interval_s", "count", "failure_limit", "consecutive_error_limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_ERROR_LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    query: str
    at_most: float
    at_least: float
    interval_s: float
    count: int
    failure_limit: int
    consecutive_error_limit: int
    def __init__(self, name: _Optional[str] = ..., query: _Optional[str] = ..., at_most: _Optional[float] = ..., at_least: _Optional[float] = ..., interval_s: _Optional[float] = ..., count: _Optional[int] = ..., failure_limit: _Optional[int] = ..., consecutive_error_limit: _Optional[int] = ...) -> None: ...

class Webhook(_message.Message):
    __slots__ = ("name", "occasion", "url", "timeout_s", "retries", "interval_s", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    OCCASION_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    occasion: str
    url: str
    timeout_s: float
    retries: int
    interval_s: float
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., occasion: _Optional[str] = ..., url: _Optional[str] = ..., timeout_s: _Optional[float] = ..., retries: _Optional[int] = ..., interval_s: _Optional[float] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StartRolloutRequest(_message.Message):
    __slots__ = ("spec", "actor", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: RolloutSpec
    actor: str
    request_id: str
    def __init__(self, spec: _Optional[_Union[RolloutSpec, _Mapping]] = ..., actor: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class VerbRequest(_message.Message):
    __slots__ = ("id", "actor", "reason", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    actor: str
    reason: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetRolloutRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListRolloutsRequest(_message.Message):
    __slots__ = ("model", "active", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    active: bool
    limit: int
    def __init__(self, model: _Optional[str] = ..., active: _Optional[bool] = ..., limit: _Optional[int] = ...) -> None: ...

class ListRolloutsResponse(_message.Message):
    __slots__ = ("rollouts",)
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    def __init__(self, rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("id", "model", "stable", "candidate", "phase", "active", "step", "steps", "weight_percent", "reason", "created_at", "phase_entered_at", "step_entered_at", "verbs", "evidence", "verdict", "generation", "spec")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PHASE_ENTERED_AT_FIELD_NUMBER: _ClassVar[int]
    STEP_ENTERED_AT_FIELD_NUMBER: _ClassVar[int]
    VERBS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    stable: int
    candidate: int
    phase: str
    active: bool
    step: int
    steps: int
    weight_percent: int
    reason: str
    created_at: float
    phase_entered_at: float
    step_entered_at: float
    verbs: _containers.RepeatedScalarFieldContainer[str]
    evidence: _struct_pb2.Struct
    verdict: Verdict
    generation: int
    spec: RolloutSpec
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., stable: _Optional[int] = ..., candidate: _Optional[int] = ..., phase: _Optional[str] = ..., active: _Optional[bool] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., weight_percent: _Optional[int] = ..., reason: _Optional[str] = ..., created_at: _Optional[float] = ..., phase_entered_at: _Optional[float] = ..., step_entered_at: _Optional[float] = ..., verbs: _Optional[_Iterable[str]] = ..., evidence: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ..., generation: _Optional[int] = ..., spec: _Optional[_Union[RolloutSpec, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("outcome", "checks", "text")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    text: str
    def __init__(self, outcome: _Optional[str] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., text: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("name", "outcome", "numbers", "text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    outcome: str
    numbers: _struct_pb2.Struct
    text: str
    def __init__(self, name: _Optional[str] = ..., outcome: _Optional[str] = ..., numbers: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class RolloutState(_message.Message):
    __slots__ = ("rollout", "serving")
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    rollout: Rollout
    serving: Serving
    def __init__(self, rollout: _Optional[_Union[Rollout, _Mapping]] = ..., serving: _Optional[_Union[Serving, _Mapping]] = ...) -> None: ...

class Serving(_message.Message):
    __slots__ = ("workers", "acknowledged", "lagging")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    LAGGING_FIELD_NUMBER: _ClassVar[int]
    workers: int
    acknowledged: int
    lagging: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, workers: _Optional[int] = ..., acknowledged: _Optional[int] = ..., lagging: _Optional[_Iterable[str]] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("id", "history")
    ID_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    id: str
    history: _containers.RepeatedCompositeFieldContainer[HistoryLine]
    def __init__(self, id: _Optional[str] = ..., history: _Optional[_Iterable[_Union[HistoryLine, _Mapping]]] = ...) -> None: ...

class HistoryLine(_message.Message):
    __slots__ = ("at", "source", "target", "source_weight_percent", "target_weight_percent", "event", "actor", "reason", "judged", "verdict")
    AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    TARGET_WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    at: float
    source: str
    target: str
    source_weight_percent: int
    target_weight_percent: int
    event: str
    actor: str
    reason: str
    judged: _struct_pb2.Struct
    verdict: Verdict
    def __init__(self, at: _Optional[float] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., source_weight_percent: _Optional[int] = ..., target_weight_percent: _Optional[int] = ..., event: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., judged: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("id", "lines", "forecast")
    ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    FORECAST_FIELD_NUMBER: _ClassVar[int]
    id: str
    lines: _containers.RepeatedScalarFieldContainer[str]
    forecast: Forecast
    def __init__(self, id: _Optional[str] = ..., lines: _Optional[_Iterable[str]] = ..., forecast: _Optional[_Union[Forecast, _Mapping]] = ...) -> None: ...

class Forecast(_message.Message):
    __slots__ = ("outcome", "requests", "seconds", "text")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    requests: int
    seconds: float
    text: str
    def __init__(self, outcome: _Optional[str] = ..., requests: _Optional[int] = ..., seconds: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("model", "requests_per_s", "steps", "seconds", "enough", "proposals")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_S_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENOUGH_FIELD_NUMBER: _ClassVar[int]
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    model: str
    requests_per_s: float
    steps: _containers.RepeatedCompositeFieldContainer[StepPlan]
    seconds: float
    enough: bool
    proposals: _containers.RepeatedCompositeFieldContainer[Proposal]
    def __init__(self, model: _Optional[str] = ..., requests_per_s: _Optional[float] = ..., steps: _Optional[_Iterable[_Union[StepPlan, _Mapping]]] = ..., seconds: _Optional[float] = ..., enough: _Optional[bool] = ..., proposals: _Optional[_Iterable[_Union[Proposal, _Mapping]]] = ...) -> None: ...

class Proposal(_message.Message):
    __slots__ = ("remedy", "rate_per_s", "requests", "seconds", "text")
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    RATE_PER_S_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    remedy: str
    rate_per_s: float
    requests: int
    seconds: float
    text: str
    def __init__(self, remedy: _Optional[str] = ..., rate_per_s: _Optional[float] = ..., requests: _Optional[int] = ..., seconds: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class StepPlan(_message.Message):
    __slots__ = ("weight_percent", "requests", "seconds", "too_long", "text")
    WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOO_LONG_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    weight_percent: int
    requests: int
    seconds: float
    too_long: bool
    text: str
    def __init__(self, weight_percent: _Optional[int] = ..., requests: _Optional[int] = ..., seconds: _Optional[float] = ..., too_long: _Optional[bool] = ..., text: _Optional[str] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("model", "rollout", "actor", "before", "limit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    rollout: str
    actor: str
    before: int
    limit: int
    def __init__(self, model: _Optional[str] = ..., rollout: _Optional[str] = ..., actor: _Optional[str] = ..., before: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("audit", "more")
    AUDIT_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    audit: _containers.RepeatedCompositeFieldContainer[AuditRecord]
    more: int
    def __init__(self, audit: _Optional[_Iterable[_Union[AuditRecord, _Mapping]]] = ..., more: _Optional[int] = ...) -> None: ...

class AuditRecord(_message.Message):
    __slots__ = ("at", "actor", "action", "model", "rollout", "outcome", "source", "target", "reason", "instance", "request_id")
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    at: float
    actor: str
    action: str
    model: str
    rollout: str
    outcome: str
    source: Standing
    target: Standing
    reason: str
    instance: str
    request_id: str
    def __init__(self, at: _Optional[float] = ..., actor: _Optional[str] = ..., action: _Optional[str] = ..., model: _Optional[str] = ..., rollout: _Optional[str] = ..., outcome: _Optional[str] = ..., source: _Optional[_Union[Standing, _Mapping]] = ..., target: _Optional[_Union[Standing, _Mapping]] = ..., reason: _Optional[str] = ..., instance: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("stable", "candidate", "weight_percent", "phase", "step")
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    stable: int
    candidate: int
    weight_percent: int
    phase: str
    step: int
    def __init__(self, stable: _Optional[int] = ..., candidate: _Optional[int] = ..., weight_percent: _Optional[int] = ..., phase: _Optional[str] = ..., step: _Optional[int] = ...) -> None: ...
