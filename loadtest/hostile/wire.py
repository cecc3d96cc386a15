"""Bytes to a socket, as they are, and whatever comes back: a server that answers early is listened to early."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2

from services.core.address import Address

_PIECE_BYTES = 256 * 1024
_SHOWN = 200


@dataclass(frozen=True)
class Reply:
    """What a server made of a request.

    Attributes:
        status: HTTP status, or gRPC status code; None when the connection broke or nothing came.
        words: The beginning of the answer.
        ms: From the first byte sent to the answer, its transfer included.
    """

    status: int | None
    words: str
    ms: float


def http(address: str, request: bytes, timeout_s: float) -> Reply:
    """Send a whole HTTP request, head included, and return the beginning of the answer."""
    target = Address.parse(address, "target")
    begun = time.perf_counter()
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection((target.host, target.port), timeout_s) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        answer = _exchange(connection, request, begun + timeout_s)
    ms = _ms_since(begun)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head.startswith(b"HTTP/1.1 ") else None
    return Reply(status, body[:_SHOWN].decode("utf-8", "replace"), ms)


def _exchange(connection: socket.socket, request: bytes, deadline: float) -> bytes:
    left, answer = memoryview(request), b""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while not _complete(answer) and time.perf_counter() < deadline:
            selector.modify(connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0))
            for _, events in selector.select(0.05):
                if events & selectors.EVENT_READ:
                    piece = connection.recv(_PIECE_BYTES)
                    if not piece:
                        return answer
                    answer += piece
                elif left:
                    left = left[connection.send(left[:_PIECE_BYTES]) :]
    return answer


def _complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line[15:])
    return body.endswith(b"0\r\n\r\n")


def rpc(address: str, method: str, messages: bytes | tuple[bytes, ...], timeout_s: float) -> Reply:
    """Call a method of the inference service with these bytes as its message, or with the messages of a stream."""
    begun = time.perf_counter()
    with grpc.insecure_channel(address, (("grpc.max_send_message_length", -1),)) as channel:
        path = f"/inference.GRPCInferenceService/{method}"
        words = ""
        try:
            grpc.channel_ready_future(channel).result(timeout_s)
            begun = time.perf_counter()
            if isinstance(messages, bytes):
                channel.unary_unary(path)(messages, timeout=timeout_s)
            else:
                words = _responses(channel.stream_stream(path)(iter(messages), timeout=timeout_s))
        except grpc.FutureTimeoutError:
            return Reply(None, "no connection", _ms_since(begun))
        except grpc.RpcError as error:
            return Reply(error.code().value[0], (error.details() or "")[:_SHOWN], _ms_since(begun))
        return Reply(0, words, _ms_since(begun))


def _responses(stream: Iterable[bytes]) -> str:
    found = [service_pb2.ModelStreamInferResponse.FromString(data) for data in stream]
    errors = [response.error_message for response in found if response.error_message]
    return f"{len(found)} responses{', errors: ' if errors else ''}{'; '.join(errors)[:_SHOWN]}"


def _ms_since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000
