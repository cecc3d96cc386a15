"""Where spans of requests go, and of which requests.

The fields are the keys of ``gateway.tracing`` in the settings file; ``penstock config schema settings`` prints them
with these descriptions. Headers, certificates and compression of the export are OpenTelemetry's own variables
(``OTEL_EXPORTER_OTLP_HEADERS`` and so on, https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """OpenTelemetry spans, sent as OTLP over HTTP."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    """URL that takes spans, path included, such as http://127.0.0.1:4318/v1/traces; empty for no tracing."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the requests without a trace of their own that are traced; one with a trace is traced as it says."""
    service_name: Annotated[str, Field(min_length=1)] = "penstock-gateway"
    """What the gateway is called in traces."""
    period_s: Seconds = 1.0
    """Longest time that a span waits before it is sent."""
    export_timeout_s: Seconds = 5.0
    """Longest time for one batch, further tries included."""
    max_queue: Positive = 2048
    """Most requests of a worker whose spans wait; those of one more are dropped and counted."""
    max_batch: Positive = 256
    """Most requests whose spans are sent at once."""
