"""The SLO file: where the target is, what load it gets and what is promised of it."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from loadtest.schedule import Process
from services.core.address import Address
from services.core.errors import ConfigurationError
from services.core.slo import GeneratorLimits, Objectives


def _checked_address(value: Any) -> Any:
    if isinstance(value, str):
        try:
            Address.parse(value, "address")
        except ConfigurationError as error:
            raise ValueError(error.message) from error
    return value


AddressText = Annotated[str, BeforeValidator(_checked_address)]


class Protocol(StrEnum):
    """What the requests are sent with."""

    REST = "rest"
    GRPC = "grpc"
    BOTH = "both"  # half of the load each


class Section(BaseModel):
    """A part of the file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(Section):
    """Where the requests go."""

    rest: AddressText = "127.0.0.1:8000"
    grpc: AddressText = "127.0.0.1:8001"
    protocol: Protocol = Protocol.BOTH
    model: str = Field(min_length=1)
    version: int | None = Field(None, ge=1, description="Ask for this version; without it the route table decides.")
    output: str | None = Field(None, description="The output with one score per class, where a model has several.")

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols in use, ``rest`` before ``grpc``."""
        return ("rest", "grpc") if self.protocol is Protocol.BOTH else (self.protocol.value,)


class Load(Section):
    """How much, how long, and through how many connections."""

    rate_per_s: float = Field(100.0, gt=0, le=100_000, description="Requests per second over all protocols.")
    duration_s: float = Field(30.0, gt=0, description="Length of the measured window.")
    warm_up_s: float = Field(3.0, ge=0, description="Load before the window, which is not measured.")
    arrivals: Process = Process.POISSON
    seed: int = 1
    connections: int = Field(16, ge=1, le=4096, description="Open connections over all protocols, one request each.")
    batch_size: int = Field(1, ge=1, description="Items per request.")
    timeout_s: float = Field(5.0, gt=0, description="A request without an answer by then has failed.")
    max_backlog: int = Field(1000, ge=0, description="Requests that may wait for a free connection; more have failed.")


class Promise(Section):
    """The objectives; at least one."""

    p50_ms: float | None = Field(None, gt=0)
    p95_ms: float | None = Field(None, gt=0)
    p99_ms: float | None = Field(None, gt=0)
    error_rate: float | None = Field(None, ge=0, lt=1, description="At most this share of requests gets no answer.")
    throughput_per_s: float | None = Field(None, gt=0, description="At least this many answers per second.")
    correctness: float | None = Field(None, gt=0, le=1, description="At least this share of the answers is right.")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"give at least one objective: {', '.join(type(self).model_fields)}")
        return self

    def objectives(self) -> Objectives:
        """Return what the verdict is about."""
        return Objectives(**self.model_dump())


class Generator(Section):
    """What the load generator must keep itself; beyond it a run is void."""

    max_lateness_ms: float = Field(25.0, gt=0, description="p99 of how late it wakes up for its own schedule.")
    max_busy_share: float = Field(0.9, gt=0, le=1, description="Share of the time that its thread wants a CPU.")

    def limits(self) -> GeneratorLimits:
        """Return the bounds for the verdict."""
        return GeneratorLimits(self.max_lateness_ms, self.max_busy_share)


class SloFile(Section):
    """One SLO file."""

    target: Target
    load: Load = Load()
    objectives: Promise
    generator: Generator = Generator()
    data: Path | None = Field(
        None, description="npz file with an array for each input and `labels`; default: beside the published version."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        promised, load = self.objectives.throughput_per_s, self.load
        if promised is not None and promised > load.rate_per_s:
            raise ValueError(
                f"objectives.throughput_per_s {promised:g} cannot be reached by load.rate_per_s {load.rate_per_s:g}; "
                "raise the rate above it"
            )
        if load.connections < len(self.target.protocols):
            raise ValueError("load.connections must be at least 2 for protocol 'both': one for each")
        if not math.isfinite(load.duration_s + load.warm_up_s):
            raise ValueError("load.duration_s and load.warm_up_s must be finite")
        return self


def load_slo(path: Path) -> SloFile:
    """Read an SLO file.

    Raises:
        ConfigurationError: It cannot be read, is not YAML or does not fit; every fault is named with its key.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read as YAML: {error}") from error
    return parse_slo(value, str(path))


def parse_slo(value: Any, origin: str) -> SloFile:
    """Check the content of an SLO file that came from ``origin``.

    Raises:
        ConfigurationError: It does not fit; every fault is named with its key.
    """
    try:
        return SloFile.model_validate(value)
    except ValidationError as error:
        faults = (
            f"{origin}: {'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}" for fault in error.errors()
        )
        raise ConfigurationError("\n".join(faults)) from error
