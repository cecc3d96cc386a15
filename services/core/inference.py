"""One inference request and its answer, after the edge parsed it and before the edge encodes it.

Nothing behind the edge knows whether a request came as JSON, as binary tensors or as protobuf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from services.core.tensor import Tensor

Parameter = bool | int | float | str


@dataclass(slots=True)
class RequestedOutput:
    """An output that the client asked for.

    Attributes:
        name: Output name.
        classes: 0 for the raw tensor, else the number of best classes wanted (Triton's classification extension).
    """

    name: str
    classes: int = 0


class Attempt(NamedTuple):
    """One sending of a request to a Triton.

    Attributes:
        replica: HOST:PORT.
        begun: When; seconds of ``time.perf_counter``.
        ended: When it had an answer, failed or was given up.
        outcome: As in ``ReplicaEvents.attempt``.
    """

    replica: str
    begun: float
    ended: float
    outcome: str


@dataclass(slots=True)
class InferRequest:
    """One request.

    Attributes:
        model: Model name.
        version: The version that the client named, or None when the route table decides.
        id: The client's id, echoed in the answer; empty for none.
        inputs: Input tensors with raw bytes.
        outputs: Requested outputs; empty means all.
        parameters: Request parameters, passed to Triton.
        key: Sticky routing key, or None for a random one.
        deadline_s: Seconds left for the answer when the request arrived, or None for the gateway's default.
        priority: Triton's priority: 1 is the highest, larger numbers are lower, 0 is the model's default.
        sequence: The id of the sequence that the request belongs to, as text; None for a request on its own.
        traceparent: W3C trace context to hand to Triton; empty for none, then Triton traces nothing.
        attempts: Filled by whoever sends the request, in the order in which the attempts ended.
        is_copy: Whether it is a mirror's copy of a request that has its answer: it is sent once at most, and never
            takes room from clients' requests, such as a place in the memory shared with Triton.
    """

    model: str
    version: int | None = None
    id: str = ""
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    key: str | None = None
    deadline_s: float | None = None
    priority: int = 0
    sequence: str | None = None
    traceparent: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    is_copy: bool = False


@dataclass(slots=True)
class InferResponse:
    """One answer, with the version that gave it.

    Attributes:
        model: Model name.
        version: The version that answered.
        id: The client's id.
        outputs: Output tensors with raw bytes.
        parameters: Response parameters.
        replica: The Triton that answered, as HOST:PORT.
        attempts: How many times the request was sent to a Triton.
        exchange_s: Time from the write of the request to Triton to the last byte of the answer, seconds; 0 if unknown.
        final: Whether no further response follows; False only for responses of a decoupled model before its last.
        rode_along: Whether the exchange with Triton was another request's as well, for which it is counted.
    """

    model: str
    version: int
    id: str
    outputs: list[Tensor]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    replica: str = ""
    attempts: int = 1
    exchange_s: float = 0.0
    final: bool = True
    rode_along: bool = False


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model says of one input or output.

    Attributes:
        name: Tensor name.
        datatype: A key of ``services.core.tensor.ITEM_SIZE``.
        dims: Dimensions including the batch dimension where the model batches; -1 matches any size.
        optional: Whether a request may leave this input out.
        labels: Whether the output has class labels (``label_filename`` in config.pbtxt).
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False
    labels: bool = False


@dataclass(frozen=True, slots=True)
class Merging:
    """How requests for a version may be put together on their way to Triton.

    Attributes:
        rows: Most rows of what is put together.
        sizes: Numbers of rows that the model prefers, ascending: no others are made. Empty for any.
        instances: How many batches the model runs at the same time.
    """

    rows: int
    sizes: tuple[int, ...] = ()
    instances: int = 1


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """The interface of one model version, as Triton reports it.

    Attributes:
        model: Model name.
        version: Version number.
        inputs: Inputs by name.
        outputs: Outputs by name.
        max_batch_size: Largest first dimension; 0 when the model does not batch.
        decoupled: Whether one request may have any number of responses; such a model is reached by streams only.
        sample: Inputs of a warm-up sample of the model's configuration, to prove readiness with; empty for none.
        merging: How requests may be put together; None for not at all.
        cached: Whether Triton may answer from its response cache, by what the inputs were when they came.
        at_once: Requests that one Triton computes at once: a full batch in each instance; 0 where nobody knows.
    """

    model: str
    version: int
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    max_batch_size: int
    decoupled: bool = False
    sample: tuple[Tensor, ...] = ()
    merging: Merging | None = None
    cached: bool = False
    at_once: int = 0
