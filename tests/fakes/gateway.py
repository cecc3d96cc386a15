"""A gateway worker in the test's own process, on real sockets, and a client for each form of each protocol."""

from __future__ import annotations

import asyncio
import functools
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, Protocol

import grpc
import numpy as np
import orjson
import uvloop
from tritonclient.grpc import service_pb2, service_pb2_grpc

from services.core.counts.comparison import Comparison
from services.core.errors import OK, STATUS, PenstockError
from services.core.inference import Parameter, RequestedOutput
from services.core.tensor import Tensor
from services.gateway.admission import AdmissionSettings
from services.gateway.app import Gateway
from services.gateway.control.feedback_desk import FeedbackDesk
from services.gateway.limits import Limits
from services.gateway.metrics.comparisons import comparisons
from services.gateway.metrics.merged import MergedSlabs
from services.gateway.metrics.slab import SlabReader, SlabWriter, create_slab_file
from services.gateway.mirroring.settings import MirrorSettings
from services.gateway.routes import Routes
from services.process.ports import listen_shared
from services.triton.http import HttpPool
from tests.fakes.upstream import FakeUpstream, standard_table

Arguments = ParamSpec("Arguments")


def in_loop(test: Callable[Arguments, Awaitable[None]]) -> Callable[Arguments, None]:
    """Run an asynchronous test in an event loop of its own, and no longer than 30 s."""

    @functools.wraps(test)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                await test(*args, **kwargs)

        uvloop.run(bounded())  # as the workers do

    return run


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.005)


@dataclass
class Running:
    """A gateway that serves, and everything about it that a test wants to look at."""

    gateway: Gateway
    upstream: FakeUpstream
    routes: Routes
    slab: SlabReader

    def count(self, family: str, **labels: str) -> int:
        """Add up the counts of the series with these labels, given by their names in ``series.LABELS``."""
        from services.gateway.metrics.series import LABELS, REQUEST, STAGE

        total = 0
        for key, values in self._merged().items():
            named = dict(zip(LABELS[key[0]], key[1:], strict=True))
            if key[0] == family and all(named[name] == value for name, value in labels.items()):
                total += int(values[1:].sum() if family in (REQUEST, STAGE) else values.sum())
        return total

    def comparison(self, answered: int = 1, mirrored: int = 2, model: str = "digits") -> Comparison:
        """Return what the copies from one version to another showed."""
        return comparisons(self.slab.records()).get((model, answered, mirrored), Comparison())

    def _merged(self) -> dict[tuple[str, ...], Any]:
        merged = MergedSlabs()
        merged.add("only", self.slab)
        return merged.merged()


@asynccontextmanager
async def serving(
    upstream: FakeUpstream | None = None,
    limits: Limits | None = None,
    *,
    table: bool = True,
    admission: AdmissionSettings | None = None,
    mirroring: MirrorSettings | None = None,
    grpc_listener: socket.socket | None = None,
    feedback: Callable[[Routes], FeedbackDesk] | None = None,
) -> AsyncIterator[Running]:
    """Run a gateway on free ports, or gRPC on a given socket; it is drained at the end."""
    upstream = upstream or FakeUpstream()
    routes = Routes()
    with tempfile.TemporaryDirectory() as folder:
        slab = Path(folder) / "slab"
        create_slab_file(slab)
        gateway = Gateway(
            upstream,
            routes,
            SlabWriter(slab),
            http_listener=listen_shared("127.0.0.1", 0, 1)[0],
            grpc_listener=grpc_listener or listen_shared("127.0.0.1", 0, 1)[0],
            limits=replace(limits or Limits(drain_s=2.0), unready_s=0.0),
            admission=admission,
            mirroring=mirroring,
            feedback=None if feedback is None else feedback(routes),
        )
        reader = SlabReader(slab)
        if table:
            routes.replace(standard_table())
        await gateway.start()
        try:
            yield Running(gateway, upstream, routes, reader)
        finally:
            await gateway.stop()


@dataclass
class Question:
    """One inference request, before it takes the form of a protocol."""

    model: str = "digits"
    inputs: Sequence[Tensor] = ()
    version: str = ""
    id: str = ""
    outputs: Sequence[RequestedOutput] = ()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    key: str | None = None
    timeout_s: float | None = None


@dataclass
class Answer:
    """What came back.

    Attributes:
        status: HTTP or gRPC status code.
        message: The error's words; empty for an answer.
        model: Model name in the answer's body.
        version: Version in the answer's body.
        id: Id in the answer's body.
        outputs: Tensors by name.
        metadata: HTTP headers, or trailing gRPC metadata.
    """

    status: int
    message: str = ""
    model: str = ""
    version: str = ""
    id: str = ""
    outputs: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


class Client(Protocol):
    """Speaks one form of one protocol."""

    protocol: str

    async def ask(self, question: Question) -> Answer:
        """Send one request."""
        ...

    def is_error(self, answer: Answer, error: type[PenstockError]) -> bool:
        """Whether the answer has the status of this error."""
        ...


class RestClient:
    """REST, with tensors as JSON or as binary data."""

    protocol = "rest"

    def __init__(self, pool: HttpPool, *, binary: bool) -> None:
        self._pool = pool
        self._binary = binary

    def is_error(self, answer: Answer, error: type[PenstockError]) -> bool:
        return answer.status == STATUS[error].http

    async def ask(self, question: Question) -> Answer:
        document: dict[str, Any] = {"inputs": [self._input(tensor) for tensor in question.inputs]}
        parameters = dict(question.parameters)
        if self._binary:
            parameters["binary_data_output"] = True
        if parameters:
            document["parameters"] = parameters
        if question.id:
            document["id"] = question.id
        if question.outputs:
            document["outputs"] = [
                {"name": o.name, "parameters": {"classification": o.classes} if o.classes else {}}
                for o in question.outputs
            ]
        head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = {"penstock-routing-key": question.key} if question.key else {}
        parts: list[Any] = [head]
        if self._binary:
            headers["Inference-Header-Content-Length"] = str(len(head))
            parts += [tensor.data for tensor in question.inputs]
        version = f"/versions/{question.version}" if question.version else ""
        path = f"/v2/models/{question.model}{version}/infer"
        response = await self._pool.request("POST", path, headers, parts, question.timeout_s or 10.0)
        metadata = {name.decode(): value.decode() for name, value in response.headers.items()}
        if response.status != OK.http:
            return Answer(response.status, orjson.loads(response.body)["error"], metadata=metadata)
        return self._answer(response.body, metadata)

    def _input(self, tensor: Tensor) -> dict[str, Any]:
        document = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if self._binary:
            return document | {"parameters": {"binary_data_size": len(tensor.data)}}
        return document | {"data": to_list(tensor)}

    def _answer(self, body: bytes, metadata: dict[str, str]) -> Answer:
        length = int(metadata.get("inference-header-content-length", len(body)))
        document = orjson.loads(body[:length])
        outputs, offset = {}, length
        for output in document["outputs"]:
            shape = tuple(output["shape"])
            if "parameters" in output:
                end = offset + output["parameters"]["binary_data_size"]
                data = body[offset:end]
                offset = end
            else:
                data = from_list(output["datatype"], output["data"])
            outputs[output["name"]] = Tensor(output["name"], output["datatype"], shape, data)
        return Answer(
            OK.http,
            model=document["model_name"],
            version=document["model_version"],
            id=document.get("id", ""),
            outputs=outputs,
            metadata=metadata,
        )


class GrpcClient:
    """gRPC, with raw contents or typed ones."""

    protocol = "grpc"

    def __init__(self, channel: Any, *, raw: bool) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._raw = raw

    def is_error(self, answer: Answer, error: type[PenstockError]) -> bool:
        return answer.status == STATUS[error].grpc

    async def ask(self, question: Question) -> Answer:
        message = service_pb2.ModelInferRequest(
            model_name=question.model, model_version=question.version, id=question.id
        )
        for tensor in question.inputs:
            added = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            if self._raw:
                message.raw_input_contents.append(bytes(tensor.data))
            else:
                getattr(added.contents, _FIELDS[tensor.datatype]).extend(typed_values(tensor))
        for output in question.outputs:
            wanted = message.outputs.add(name=output.name)
            if output.classes:
                wanted.parameters["classification"].int64_param = output.classes
        for name, value in question.parameters.items():
            _set(message.parameters[name], value)
        metadata = (("penstock-routing-key", question.key),) if question.key else ()
        call = self._stub.ModelInfer(message, metadata=metadata, timeout=question.timeout_s)
        try:
            response = await call
        except grpc.aio.AioRpcError as error:
            trailing = {str(k): str(v) for k, v in error.trailing_metadata() or ()}
            return Answer(error.code().value[0], error.details() or "", metadata=trailing)
        outputs = {
            tensor.name: Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)
            for tensor, data in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        return Answer(
            0,
            model=response.model_name,
            version=response.model_version,
            id=response.id,
            outputs=outputs,
            metadata={str(k): str(v) for k, v in await call.trailing_metadata()},
        )


FORMS = ("rest-json", "rest-binary", "grpc-typed", "grpc-raw")


@asynccontextmanager
async def client(running: Running, form: str) -> AsyncIterator[Client]:
    """Return a client of one of ``FORMS``."""
    protocol, kind = form.split("-")
    if protocol == "rest":
        # Client and gateway share a loop, which a crowded machine may hold up for longer than a network would.
        pool = HttpPool("127.0.0.1", running.gateway.http_port, connect_timeout_s=10.0)
        try:
            yield RestClient(pool, binary=kind == "binary")
        finally:
            await pool.aclose()
    else:
        options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.grpc_port}", options=options) as channel:
            yield GrpcClient(channel, raw=kind == "raw")


_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
    # These have no field of their own; a client that uses another one is refused.
    "FP16": "fp32_contents",
    "BF16": "fp32_contents",
}
DTYPES = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
}


def typed_values(tensor: Tensor) -> list[Any]:
    """Return the elements of a tensor as Python values; BYTES as bytes."""
    if tensor.datatype != "BYTES":
        values: list[Any] = np.frombuffer(tensor.data, DTYPES[tensor.datatype]).tolist()
        return values
    data, offset, found = bytes(tensor.data), 0, []
    while offset < len(data):
        end = offset + 4 + int.from_bytes(data[offset : offset + 4], "little")
        found.append(data[offset + 4 : end])
        offset = end
    return found


def to_list(tensor: Tensor) -> list[Any]:
    """Return the elements as JSON has them."""
    values = typed_values(tensor)
    return [value.decode() for value in values] if tensor.datatype == "BYTES" else values


def from_list(datatype: str, values: list[Any]) -> bytes:
    """Return the raw bytes of elements as JSON has them."""
    if datatype == "BYTES":
        return b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in values)
    return np.array(values, DTYPES[datatype]).tobytes()


def image(*rows: Sequence[float]) -> Tensor:
    """Return an input of the model ``digits``."""
    return Tensor("image", "FP32", (len(rows), 3), np.array(rows, "<f4").tobytes())


def _set(target: Any, value: Parameter) -> None:
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        target.int64_param = value
    elif isinstance(value, float):
        target.double_param = value
    else:
        target.string_param = value
