"""A Triton that models are loaded in again and again, each time with another configuration."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from services.core.errors import ConfigurationError, NotFound, Unavailable, UpstreamFailure

CONFIG = "config.pbtxt"
# Names a load in the configuration itself: a Triton that was started again in between has the repository's, without it.
_MARK = "penstock_tune_load"
_ASK_S = 5.0
_LOOK_EVERY_S = 0.2
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class LiveTriton:
    """Triton's model control, in explicit mode. A context: it closes its channel.

    Args:
        grpc_address: HOST:PORT of its gRPC endpoint.
        timeout_s: Longest time for one load.
    """

    def __init__(self, grpc_address: str, timeout_s: float) -> None:
        self._address, self._timeout_s = grpc_address, timeout_s
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(grpc_address, options=options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._mark = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def load(self, model: str, config: Mapping[str, Any] | None) -> None:
        """Load a model as a configuration says, or as the repository does, and return when it serves.

        Raises:
            UpstreamFailure: Triton does not take it; its reason.
            Unavailable: Triton does not answer.
        """
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        if config is not None:
            self._mark = uuid.uuid4().hex
            marked = {**config.get("parameters", {}), _MARK: {"string_value": self._mark}}
            request.parameters["config"].string_param = json.dumps({**config, "parameters": marked})
        try:
            self._stub.RepositoryModelLoad(request, timeout=self._timeout_s)
        except grpc.RpcError as error:
            reason = str(error.details()).strip().splitlines()[0] if error.details() else error.code().name
            if error.code() in _UNREACHABLE:
                raise Unavailable(f"Triton at {self._address} does not answer: {reason}") from error
            raise UpstreamFailure(f"Triton does not load {model}: {reason}") from error

    def still_has(self, model: str) -> bool:
        """Whether the model is served as it was loaded last: false once Triton was started again, or is gone."""
        request = service_pb2.ModelConfigRequest(name=model)
        try:
            found = self._stub.ModelConfig(request, timeout=_ASK_S)
        except grpc.RpcError:
            return False
        return bool(found.config.parameters[_MARK].string_value == self._mark)

    def wait_until_ready(self) -> None:
        """Wait for a Triton that is being started again.

        Raises:
            Unavailable: It is not ready within the time of a load.
        """
        deadline = time.monotonic() + self._timeout_s
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise Unavailable(f"Triton at {self._address} is not ready after {self._timeout_s:g} s; see its log")
            time.sleep(_LOOK_EVERY_S)

    def _is_ready(self) -> bool:
        try:
            return bool(self._stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=_ASK_S).ready)
        except grpc.RpcError:
            return False


def read_config(repository: Path, model: str, version: int) -> dict[str, Any]:
    """Return a model's configuration in Triton's JSON, with one version in it.

    Raises:
        NotFound: There is no such model.
        ConfigurationError: Its config.pbtxt does not parse.
    """
    path = repository / model / CONFIG
    if not path.is_file():
        raise NotFound(f"there is no {path}; publish the model with `penstock build`")
    try:
        parsed = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    parsed.name = parsed.name or model
    del parsed.version_policy.specific.versions[:]
    parsed.version_policy.specific.versions.append(version)
    return dict(json_format.MessageToDict(parsed, preserving_proto_field_name=True))


def as_pbtxt(config: Mapping[str, Any]) -> str:
    """Return a configuration in Triton's JSON as the text of a config.pbtxt, with all versions in it."""
    parsed = json_format.ParseDict(dict(config), model_config_pb2.ModelConfig())
    parsed.ClearField("version_policy")
    return str(text_format.MessageToString(parsed))
