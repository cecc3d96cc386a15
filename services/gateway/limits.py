"""Every bound that a gateway worker keeps, with its default: nothing that a client sends is unbounded.

The fields are the keys of ``gateway.limits`` in the settings file; ``penstock config schema settings`` prints them with
these descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

MIB = 1024 * 1024

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client sends, how long it may take, and how much of it is held."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    max_body_bytes: Annotated[int, Field(ge=1024)] = 64 * MIB
    """Largest request as sent: an HTTP body, a gRPC message."""
    max_inflated_bytes: Annotated[int, Field(ge=1024)] = 64 * MIB
    """Largest request after its compression is undone."""
    max_inflation_ratio: Positive = 200
    """Most bytes that a byte of a compressed request may become; the first 8 MiB of a request are free."""
    max_buffered_bytes: Annotated[int, Field(ge=1024)] = 512 * MIB
    """Bytes of requests that a worker holds in all, complete or not; a request beyond them is refused."""
    max_response_bytes: Annotated[int, Field(ge=1024)] = 256 * MIB
    """Largest answer that is taken from Triton."""

    max_url_bytes: Positive = 8 * 1024
    """Longest request target."""
    max_header_bytes: Positive = 32 * 1024
    """Largest head of an HTTP request, and largest gRPC metadata after decompression."""
    max_headers: Positive = 128
    """Most header fields of one request, trailers included."""
    max_chunks: Positive = 16 * 1024
    """Most chunks of a chunked body and most DATA frames of a gRPC message, without counting full ones (16 KiB)."""

    max_json_depth: Positive = 64
    """Deepest nesting of JSON."""
    max_json_values: Positive = 4_000_000
    """Most values in one JSON document."""
    max_inputs: Positive = 256
    """Most inputs of one request."""
    max_outputs: Positive = 256
    """Most requested outputs of one request."""
    max_rank: Positive = 32
    """Most dimensions of one tensor."""
    max_dimension: Positive = (1 << 31) - 1
    """Largest single dimension."""
    max_string_bytes: Positive = 16 * MIB
    """Longest element of a BYTES tensor."""
    max_strings: Positive = 1_000_000
    """Most elements of one BYTES tensor: each is looked at."""
    max_name_bytes: Positive = 1024
    """Longest name of a model, tensor or parameter, and longest id."""
    max_parameters: Positive = 128
    """Most parameters of one request, input or output."""
    max_parameter_bytes: Positive = 64 * 1024
    """Longest text of one parameter."""

    max_connections: Positive = 8192
    """Client connections of one worker and protocol; one more is closed at once."""
    max_requests_per_connection: Positive = 1_000_000
    """Requests after which a connection is closed in order, so that load spreads again."""
    max_streams_per_connection: Positive = 256
    """Concurrent calls on one gRPC connection."""
    max_stream_in_flight: Positive = 32
    """Requests of one ModelStreamInfer call that are worked on at once; more are not read."""

    head_timeout_s: Seconds = 8.0
    """Longest time for a request's head, or for a connection's first bytes."""
    body_grace_s: Seconds = 8.0
    """Time for a body or message to arrive, before ``min_transfer_bytes_per_s`` counts."""
    min_transfer_bytes_per_s: Positive = 64 * 1024
    """Slowest transfer of a body, or of an answer to the client, after its grace."""
    write_grace_s: Seconds = 8.0
    """Time for a client to take an answer, before ``min_transfer_bytes_per_s`` counts."""
    idle_timeout_s: Seconds = 75.0
    """Longest time between two requests of a connection."""
    request_timeout_s: Seconds = 30.0
    """Longest time for an answer, and the deadline of a request that names none."""
    unready_s: Annotated[float, Field(ge=0)] = 1.0
    """Time for load balancers to notice that a worker is not ready, before it stops accepting connections."""
    drain_s: Annotated[float, Field(ge=0)] = 20.0
    """Longest time for requests in flight when a worker is asked to end."""
