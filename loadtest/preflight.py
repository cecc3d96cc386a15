"""Is the target there and ready, and how is its model called? Asked once, before any load."""

from __future__ import annotations

from typing import Any

import grpc
import orjson
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadtest.connection import HttpConnection
from loadtest.payload import Interface
from loadtest.record import Failure
from loadtest.slo_file import Target
from services.core.errors import ConfigurationError, Unavailable
from services.core.inference import TensorSpec

TIMEOUT_S = 5.0
_OK = 200


def inspect(target: Target) -> Interface:
    """Return the model's interface once every protocol in use says that the model is ready.

    Raises:
        Unavailable: A server cannot be reached, or it or the model is not ready.
        ConfigurationError: The model has no output that is known to hold class scores.
    """
    metadata: dict[str, Any] = {}
    if "grpc" in target.protocols:
        metadata = _over_grpc(target)
    if "rest" in target.protocols:
        metadata = _over_rest(target)
    return _interface(target, metadata)


def _over_rest(target: Target) -> dict[str, Any]:
    http = HttpConnection(target.rest, TIMEOUT_S)
    path = f"/v2/models/{target.model}" + (f"/versions/{target.version}" if target.version else "")
    try:
        for question in ("/v2/health/ready", f"{path}/ready", path):
            outcome = http.exchange("GET", question)
            if isinstance(outcome, Failure):
                raise Unavailable(f"REST target {target.rest}: {outcome.kind}: {outcome.message}")
            status, answer = outcome
            if status != _OK:
                words = bytes(answer.body[:300]).decode("utf-8", "replace")
                raise Unavailable(
                    f"REST target {target.rest} is not ready: {question} answers {status} {words}".rstrip()
                )
        metadata: dict[str, Any] = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise Unavailable(f"REST target {target.rest}: {path} is no JSON; is it an inference server?") from error
    finally:
        http.close()
    return metadata


def _over_grpc(target: Target) -> dict[str, Any]:
    version = str(target.version or "")
    with grpc.insecure_channel(target.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        try:
            if not stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=TIMEOUT_S).ready:
                raise Unavailable(f"gRPC target {target.grpc} is not ready")
            request = service_pb2.ModelReadyRequest(name=target.model, version=version)
            if not stub.ModelReady(request, timeout=TIMEOUT_S).ready:
                wanted = f"{target.model} version {version}" if version else target.model
                raise Unavailable(f"gRPC target {target.grpc}: model {wanted} is not ready")
            answer = stub.ModelMetadata(
                service_pb2.ModelMetadataRequest(name=target.model, version=version), timeout=TIMEOUT_S
            )
        except grpc.RpcError as error:
            code, words = error.code().name, error.details()
            raise Unavailable(f"gRPC target {target.grpc}: {code}: {words}") from error
    return {
        kind: [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in tensors]
        for kind, tensors in (("inputs", answer.inputs), ("outputs", answer.outputs))
    }


def _interface(target: Target, metadata: dict[str, Any]) -> Interface:
    inputs = tuple(_spec(one) for one in metadata.get("inputs", []))
    outputs = {output["name"]: _spec(output) for output in metadata.get("outputs", [])}
    if not inputs:
        raise ConfigurationError(f"{target.model} names no input; the load test needs one to send data to")
    name = target.output if target.output is not None else next(iter(outputs), "")
    if name not in outputs or (target.output is None and len(outputs) != 1):
        raise ConfigurationError(
            f"{target.model} has outputs {', '.join(outputs) or 'none'}; "
            "name the one with one score per class in target.output"
        )
    return Interface(target.model, target.version, inputs, outputs[name])


def _spec(tensor: dict[str, Any]) -> TensorSpec:
    return TensorSpec(tensor["name"], tensor["datatype"], tuple(int(dim) for dim in tensor["shape"]))
