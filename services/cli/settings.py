"""The settings of ``penstock up`` and ``penstock demo``: defaults, then the file, then the environment, then flags.

A variable is named after its place in the file: ``gateway: {http_port: 0}`` is ``PENSTOCK_GATEWAY_HTTP_PORT=0``. A
list is separated by commas in it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    ValidationError,
)

from services.cli.yamlfile import load_yaml
from services.core.errors import ConfigurationError
from services.core.replica_address import ReplicaAddress, Targets, parse_targets
from services.gateway.admission.settings import AdmissionSettings
from services.gateway.limits import Limits
from services.gateway.logs import LogSettings
from services.gateway.mirroring.settings import MirrorSettings
from services.gateway.tracing.settings import TracingSettings
from services.triton.merging.settings import MergeSettings
from services.triton.replicas.settings import ReplicaSettings
from services.triton.shared_memory.settings import SharedMemorySettings

PREFIX = "PENSTOCK_"
SETTINGS_FILE = "penstock.yaml"

# Read by single commands, not part of the settings file.
_OTHER_VARIABLES = frozenset({"PENSTOCK_CONTROLLER_URL", "PENSTOCK_GATEWAY_URL", "PENSTOCK_SIGN_KEY"})
_IN_CLEAR = "secrets in clear"

_TRITONS = (
    "The Tritons as HOST:HTTPPORT[/GRPCPORT[/MEMORYPORT]], separated by commas, or dns:NAME:HTTPPORT[/...] for all "
    "addresses of a name; default is the section triton's."
)
_CONTROLLERS = (
    "HOST:PORT of the controller's gRPC, or of every controller's, separated by commas; default is its section's."
)

Port = Annotated[int, Field(ge=0, le=65535)]


def _secret_in_json(secret: SecretStr, info: SerializationInfo) -> str:
    return secret.get_secret_value() if _IN_CLEAR in (info.context or ()) else str(secret)


SecretText = Annotated[SecretStr, PlainSerializer(_secret_in_json, str, when_used="json")]
"""A setting that is shown as stars, unless ``in_clear`` is asked for it."""


class Section(BaseModel):
    """A part of the settings file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySettings(Section):
    """The gateway's addresses and bounds; port 0 chooses a free one and prints it."""

    host: str = "127.0.0.1"
    http_port: Port = 8000
    grpc_port: Port = 8001
    metrics_port: Port = 8002
    workers: int = Field(2, ge=1, le=256)
    limits: Limits = Limits()
    admission: AdmissionSettings = AdmissionSettings()
    mirroring: MirrorSettings = MirrorSettings()
    replicas: ReplicaSettings = ReplicaSettings()
    merging: MergeSettings = MergeSettings()
    shared_memory: SharedMemorySettings = SharedMemorySettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()
    triton: str | None = Field(None, description=_TRITONS)
    controller: str | None = Field(None, description=_CONTROLLERS)


class ControllerSettings(Section):
    """The controller's addresses, its database and how often it looks."""

    host: str = "127.0.0.1"
    http_port: Port = 9000
    grpc_port: Port = 9001
    database_url: str | None = Field(None, description="SQLAlchemy URL; default is SQLite in the state directory.")
    webhook_secret: SecretText = Field(SecretStr(""), description="Calls of rollouts' webhooks are signed with it.")
    webhook_hosts: list[str] = Field(["*"], description="Hosts that webhooks may call; `*` stands for any part.")
    prometheus_url: str | None = Field(None, description="Prometheus that custom metrics of rollouts are asked from.")
    audit_days: int | None = Field(
        None, ge=1, le=36_500, description="Days that records of the audit log are kept; default is for ever."
    )
    advertise: str | None = Field(None, description="Host by which others reach this controller; default is its own.")
    tick_s: float = Field(1.0, gt=0, le=60)
    triton: str | None = Field(None, description=_TRITONS)


_VERSION = r"^\d+(\.\d+)+$"
TRITON_PORTS = ("http_port", "grpc_port", "metrics_port", "memory_port")
PORTS_APART = 10


class TritonSettings(Section):
    """Triton's address and ports and, where it is not found by itself, its program."""

    host: str = Field("127.0.0.1", description="Triton protects nothing: keep it where only the gateway reaches it.")
    executable: Path | None = Field(None, description="Path of a tritonserver program; without it one is looked for.")
    http_port: Port = 18000
    grpc_port: Port = 18001
    metrics_port: Port = 18002
    memory_port: Port = Field(18003, description="Where `penstock triton` says how much memory its Triton has.")
    replicas: int = Field(1, ge=1, le=16, description="Tritons that `up` starts; the n-th has ports 10 n higher.")
    exit_timeout_s: int = Field(10, ge=0, le=3600, description="Longest time for requests in flight after SIGTERM.")
    compute_capability: str | None = Field(
        None, pattern=_VERSION, description="Of Triton's GPU, such as 9.0; default is what this machine's driver says."
    )
    tensorrt: str | None = Field(
        None, pattern=_VERSION, description="Version of Triton's TensorRT; with it engines of others are not loaded."
    )


class Settings(Section):
    """Everything that ``penstock up`` can be told."""

    repository: Path = Path("model_repository")
    state_dir: Path = Path(".penstock")
    public_key: Path | None = Field(
        None, description="PEM file of a public key: then only versions that were signed for it are loaded."
    )
    gateway: GatewaySettings = GatewaySettings()
    controller: ControllerSettings = ControllerSettings()
    triton: TritonSettings = TritonSettings()


def in_clear(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON has them, with every secret: for a process of ours to read, never for a person."""
    return settings.model_dump(mode="json", context={_IN_CLEAR})


def listening(settings: Settings) -> dict[str, tuple[str, int]]:
    """Return host and port of everything that listens, by setting; of a further Triton with its number."""
    gateway, controller, triton = settings.gateway, settings.controller, settings.triton
    found = {
        "gateway.http_port": (gateway.host, gateway.http_port),
        "gateway.grpc_port": (gateway.host, gateway.grpc_port),
        "gateway.metrics_port": (gateway.host, gateway.metrics_port),
        "controller.http_port": (controller.host, controller.http_port),
        "controller.grpc_port": (controller.host, controller.grpc_port),
    }
    for number in range(triton.replicas):
        for name in TRITON_PORTS:
            port: int = getattr(triton, name)
            found[setting_of(name, number)] = (triton.host, port and port + number * PORTS_APART)
    return found


def setting_of(port: str, number: int) -> str:
    """Return the words for one port of the n-th Triton, the first being 0."""
    return f"triton.{port}" if number == 0 else f"triton.{port} of replica {number + 1}"


def triton_targets(settings: Settings, asked: str | None, setting: str) -> Targets:
    """Return where the Tritons are: as asked for, or as section triton has them.

    Raises:
        ConfigurationError: What was asked for is no list of addresses.
    """
    if asked is not None:
        return parse_targets([text.strip() for text in asked.split(",")], setting)
    triton = settings.triton
    shifts = [number * PORTS_APART for number in range(triton.replicas)]
    return tuple(
        ReplicaAddress(
            triton.host,
            triton.http_port + by,
            triton.grpc_port + by,
            triton.memory_port + by if triton.memory_port else None,
        )
        for by in shifts
    )


def under_section(section: str, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return a verb's flags under their dotted names: those of no section as they are, the rest in ``section``."""
    of_no_section = {place[0] for place in places() if len(place) == 1}
    return {name if name in of_no_section else f"{section}.{name}": value for name, value in flags.items()}


def load_settings(environment: Mapping[str, str], file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Merge the settings file, the environment and the flags, the later over the earlier.

    Args:
        environment: All environment variables.
        file: The settings file that the user named; without one, ``penstock.yaml`` where it exists.
        flags: Dotted setting names with the values given on the command line; None values are left out.

    Raises:
        ConfigurationError: A file, a variable or a value is wrong; it says which, and what would be right.
    """
    path = file or Path(SETTINGS_FILE)
    from_file = load_yaml(path, Settings) if file is not None or path.is_file() else Settings()
    merged = from_file.model_dump()
    origins: dict[tuple[str, ...], str] = {}
    types = places()
    for place, variable in _variables(environment).items():
        _put(merged, place, _said(environment[variable], types[place]))
        origins[place] = variable
    for name, value in flags.items():
        if value is not None:
            place = tuple(name.split("."))
            _put(merged, place, value)
            origins[place] = f"--{place[-1].replace('_', '-')}"
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_words(fault["loc"], fault, origins) for fault in error.errors())) from error


def _variables(environment: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    known = {variable_of(place): place for place in places()}
    found: dict[tuple[str, ...], str] = {}
    for variable in environment:
        if not variable.startswith(PREFIX) or variable in _OTHER_VARIABLES:
            continue
        if variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"unknown environment variable {variable}{hint}")
        found[known[variable]] = variable
    return found


def places() -> dict[tuple[str, ...], Any]:
    """Return where every setting is in the file, from the top, and its type."""
    return dict(_places_in(Settings))


def variable_of(place: tuple[str, ...]) -> str:
    """Return the name of the environment variable of a place."""
    return PREFIX + "_".join(place).upper()


def _places_in(section: type[Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, annotation in get_type_hints(section).items():
        if isinstance(annotation, type) and (issubclass(annotation, Section) or is_dataclass(annotation)):
            yield from (((name, *inner), found) for inner, found in _places_in(annotation))
        elif get_origin(annotation) is not ClassVar and name in _fields_of(section):
            yield (name,), annotation


def _said(text: str, annotation: Any) -> str | list[str]:
    """Return what a variable says of a setting of this type."""
    if get_origin(annotation) is not list:
        return text
    return [item for part in text.split(",") if (item := part.strip())]


def _fields_of(section: type[Any]) -> Collection[str]:
    return section.model_fields if issubclass(section, Section) else section.__dataclass_fields__


def _put(tree: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for part in place[:-1]:
        tree = tree[part]
    tree[place[-1]] = value


def _words(location: tuple[int | str, ...], fault: Any, origins: Mapping[tuple[str, ...], str]) -> str:
    place = tuple(str(part) for part in location)
    origin = origins.get(place, "setting")
    return f"{origin} ({'.'.join(place)}): {fault['msg']}, found {fault['input']!r}"
