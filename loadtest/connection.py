"""One REST and one gRPC connection, each carrying one request at a time.

Plain blocking sockets: under Locust's monkey patch a blocked connection lets the others run. Failures come back as
values, because in a load test they are results.
"""

from __future__ import annotations

import socket
import time
from typing import Any

import grpc
import httptools
from tritonclient.grpc import service_pb2

from loadtest.payload import INFERENCE_HEADER, Interface, Payload, read_grpc, read_rest
from loadtest.record import Answer, Failure
from services.core.address import Address

TIMED_OUT = "timeout"
_RECEIVE_BYTES = 64 * 1024
_OK = 200
_INFER = "/inference.GRPCInferenceService/ModelInfer"


class _ClosedError(Exception):
    """The server closed a reused connection before it answered: it never took the request."""


class HttpAnswer:
    """One HTTP answer; filled by the parser."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header under its lower-case name."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Append a piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True


class HttpConnection:
    """A keep-alive HTTP/1.1 connection that is opened when it is needed."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._target = Address.parse(address, "target")
        self._address = address
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def exchange(
        self, method: str, path: str, headers: str = "", body: bytes = b""
    ) -> tuple[int, HttpAnswer] | Failure:
        """Send a request and return status and answer, or why there is none.

        Args:
            method: ``GET`` or ``POST``.
            path: Path on the server.
            headers: Further header lines, each ending in CR LF.
            body: Body of a POST.
        """
        deadline = time.monotonic() + self._timeout_s
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._address}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        message = head.encode("latin-1") + body
        try:
            if self._socket is not None:
                try:
                    return self._once(self._socket, message, deadline, reused=True)
                except _ClosedError:
                    self.close()
            left_s = max(1e-3, deadline - time.monotonic())
            self._socket = socket.create_connection((self._target.host, self._target.port), left_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._once(self._socket, message, deadline, reused=False)
        except TimeoutError:
            self.close()
            return Failure(TIMED_OUT, f"no answer from {self._address} within {self._timeout_s:g} s")
        except (OSError, httptools.HttpParserError) as error:
            self.close()
            return Failure(_name_of(error), f"{self._address}: {error}")

    def close(self) -> None:
        """Close the connection; the next exchange opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _once(
        self, connection: socket.socket, message: bytes, deadline: float, *, reused: bool
    ) -> tuple[int, HttpAnswer]:
        answer = HttpAnswer()
        parser = httptools.HttpResponseParser(answer)
        connection.settimeout(max(1e-3, deadline - time.monotonic()))
        seen = False
        try:
            connection.sendall(message)
            while not answer.complete:
                data = connection.recv(_RECEIVE_BYTES)
                if not data:
                    break
                seen = True
                parser.feed_data(data)
                if not answer.complete:
                    connection.settimeout(max(1e-3, deadline - time.monotonic()))
        except (ConnectionResetError, BrokenPipeError) as error:
            if reused and not seen:
                raise _ClosedError from error
            raise
        if not answer.complete:
            raise _ClosedError if reused and not seen else ConnectionResetError("closed before the answer was complete")
        # llhttp answers should_keep_alive() only inside its last callback.
        if answer.headers.get("connection", "").lower() == "close" or parser.get_http_version() != "1.1":
            self.close()
        return parser.get_status_code(), answer


class RestConnection:
    """Sends inference requests over REST."""

    protocol = "rest"

    def __init__(self, address: str, interface: Interface, timeout_s: float) -> None:
        self._http = HttpConnection(address, timeout_s)
        self._interface = interface
        self._path = f"{interface.path}/infer"

    def send(self, payload: Payload) -> Answer | Failure:
        """Send one request and check its answer."""
        headers = f"Content-Type: application/octet-stream\r\n{INFERENCE_HEADER}: {payload.json_size}\r\n"
        outcome = self._http.exchange("POST", self._path, headers, payload.body)
        if isinstance(outcome, Failure):
            return outcome
        status, answer = outcome
        body = bytes(answer.body)
        if status != _OK:
            return Failure(f"HTTP {status}", body[:300].decode("utf-8", "replace"))
        return read_rest(self._interface, answer.headers, body, payload.labels)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class GrpcConnection:
    """Sends inference requests over gRPC, on a connection of its own."""

    protocol = "grpc"

    def __init__(self, address: str, interface: Interface, timeout_s: float) -> None:
        # Without a local pool all channels of a process share one connection.
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._infer = self._channel.unary_unary(
            _INFER, request_serializer=None, response_deserializer=service_pb2.ModelInferResponse.FromString
        )
        self._interface = interface
        self._timeout_s = timeout_s

    def send(self, payload: Payload) -> Answer | Failure:
        """Send one request and check its answer."""
        try:
            response, call = self._infer.with_call(payload.body, timeout=self._timeout_s)
        except grpc.RpcError as error:
            return _grpc_failure(error)
        role = next((value for key, value in call.trailing_metadata() or () if key == "penstock-role"), "")
        return read_grpc(self._interface, response, role, payload.labels)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _grpc_failure(error: Any) -> Failure:
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Failure(TIMED_OUT, error.details() or "deadline exceeded")
    return Failure(f"gRPC {code.name}", error.details() or "")


def _name_of(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset"
    if isinstance(error, httptools.HttpParserError):
        return "not HTTP"
    return f"network: {type(error).__name__}"
