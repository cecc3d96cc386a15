"""Streams of responses from one Triton, over gRPC: one ``ModelStreamInfer`` call per request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio
from tritonclient.grpc import service_pb2_grpc

from services.core.errors import PenstockError
from services.core.inference import InferRequest, InferResponse
from services.triton.faults import AllBusy, NoAnswer, Nonsense
from services.triton.grpc_wire import decode_stream_response, encode_stream_request
from services.triton.triton_errors import error_from_grpc, error_from_stream

_US_PER_S = 1_000_000
_SETTLE_S = 0.5


class GrpcStreams:
    """One channel to one Triton, made when the first stream needs it.

    Args:
        target: HOST:PORT of its gRPC endpoint.
        max_streams: Most streams at once; one more is refused.
        max_response_bytes: Largest single response.
    """

    def __init__(self, target: str, max_streams: int = 256, max_response_bytes: int = 256 * 1024 * 1024) -> None:
        self._target = target
        self._max_streams = max_streams
        self._max_response_bytes = max_response_bytes
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None
        self._running: dict[Any, object] = {}
        self._given_up: dict[Any, PenstockError] = {}

    async def stream(
        self, request: InferRequest, version: int, timeout_s: float, *, group: object = None
    ) -> AsyncGenerator[InferResponse, None]:
        """Run one request and give its responses as they come, the last one ``final``.

        Nothing is read ahead of whoever takes the responses: a slow one slows Triton down. Closing the generator
        cancels the call.

        Args:
            request: The request.
            version: The version.
            timeout_s: Bound on the whole stream.
            group: What ``give_up`` knows this stream by.

        Raises:
            PenstockError: As ``Upstream.infer``, before any response or between two.
        """
        if len(self._running) >= self._max_streams:
            raise AllBusy(f"{self._max_streams} streams to {self._target} are open already; try again shortly")
        message = encode_stream_request(request, version, int(timeout_s * _US_PER_S) or 1)
        # Never ``triton_grpc_error``, which would give errors a code: an error between two responses then sometimes
        # ends Triton 2.51 with a segmentation fault (2 of 6 times; without it never in 12).
        metadata = (("traceparent", request.traceparent),) if request.traceparent else ()
        call = self._connected().ModelStreamInfer(timeout=timeout_s, metadata=metadata)
        self._running[call] = group
        over = False
        try:
            await call.write(message)
            await call.done_writing()
            async for answer in call:
                over = bool(answer.error_message)
                response = _response(answer, request.model, version)
                over = response.final
                yield response
                if over:
                    return
            await self._ended(call)
        except grpc.aio.AioRpcError as error:
            raise self._error(call, error, timeout_s) from error
        except BaseException as error:
            if (reason := self._given_up.get(call)) is not None and not isinstance(
                error, PenstockError | GeneratorExit
            ):
                raise reason from error
            raise
        finally:
            del self._running[call]
            self._given_up.pop(call, None)
            if over:
                await _settled(call)
            call.cancel()

    def give_up(self, group: object, error: PenstockError) -> None:
        """End every stream of this group with ``error``, at once."""
        for call in [call for call, one in self._running.items() if one is group]:
            self._given_up[call] = error
            call.cancel()

    async def aclose(self) -> None:
        """End every stream and close the channel."""
        if self._channel is not None:
            await self._channel.close()

    def _connected(self) -> Any:
        if self._stub is None:
            options = (
                ("grpc.max_receive_message_length", self._max_response_bytes),
                ("grpc.max_send_message_length", -1),
                # A replica that comes back is used again at once, not after a backoff of two minutes.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            )
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
            self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return self._stub

    async def _ended(self, call: Any) -> None:
        """Say why a stream ended without a final response."""
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            raise error_from_grpc(code.value[0], await call.details() or "")
        raise Nonsense(f"{self._target} ended a stream without a final response")

    def _error(self, call: Any, error: grpc.aio.AioRpcError, timeout_s: float) -> PenstockError:
        if (reason := self._given_up.get(call)) is not None:
            return reason
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return NoAnswer(f"the stream from {self._target} was not over within {timeout_s:.3f} s")
        return error_from_grpc(error.code().value[0], error.details() or "")


async def _settled(call: Any) -> None:
    """Let Triton end a call that is over: one that is cancelled a moment before that is a risk for nothing."""
    try:
        async with asyncio.timeout(_SETTLE_S):
            async for _ in call:
                continue
    except (TimeoutError, grpc.aio.AioRpcError):
        return


def _response(answer: Any, model: str, version: int) -> InferResponse:
    if answer.error_message:
        raise error_from_stream(answer.error_message)
    return decode_stream_response(answer.infer_response, model, version)
