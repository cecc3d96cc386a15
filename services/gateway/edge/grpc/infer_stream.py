"""ModelStreamInfer: requests of one stream, several at once, answered as Triton 2.51 answers them.

The responses of models that are not decoupled come in the order of their requests; those of decoupled ones come when
they come. Each says in ``triton_final_response`` whether it is its request's last one, and the bare end of a decoupled
model's responses is told to those who set ``triton_enable_empty_final_response``. An error is a message with the id of
its request, and the stream goes on; where the client sends ``triton_grpc_error: true``, a failure of the model ends the
whole stream with its status instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import Any

from tritonclient.grpc import service_pb2

from services.core.errors import PenstockError, UpstreamFailure
from services.core.inference import InferRequest
from services.gateway.edge.buffer_budget import Hold
from services.gateway.edge.fields import first_value
from services.gateway.edge.grpc.call import defect
from services.gateway.edge.grpc.message_reader import Buffer
from services.gateway.edge.grpc.response_wire import encode_response, field_head
from services.gateway.edge.grpc.site import PROTOCOL, Site
from services.gateway.edge.grpc.streaming import Streaming
from services.gateway.edge.http2.connection import Connection
from services.gateway.edge.http2.stream import Stream
from services.gateway.edge.words import words_of
from services.gateway.pipeline import Served

_WANTS_FINAL = "triton_enable_empty_final_response"
_IS_FINAL = "triton_final_response"
_INFER_RESPONSE = 0x12

Parts = list[Buffer]


class StreamedCall:
    """One request of a stream, as the pipeline sees it.

    Attributes:
        id: The client's id, once it is decoded.
        decoupled: Whether it is known that there may be several responses.
        version: The version that answers, once it has; empty before.
        wants_final: Whether the client wants to be told of a bare end.
    """

    __slots__ = ("_message", "_stream", "decoupled", "id", "model", "protocol", "traceparent", "tracestate",
                 "version", "wants_final")  # fmt: skip

    def __init__(self, stream: InferStream, message: Buffer) -> None:
        self.protocol = PROTOCOL
        self.model = ""
        self.id = ""
        self.traceparent = stream.head.traceparent
        self.tracestate = stream.head.tracestate
        self.decoupled = False
        self.version = ""
        self.wants_final = False
        self._stream = stream
        self._message = message

    def decode(self) -> InferRequest:
        """Turn the message, the deadline and the metadata into a request."""
        stream = self._stream
        try:
            request = stream.site.wire.read(self._message)
        except PenstockError:
            self.model, self.id = stream.site.wire.names(self._message)
            raise
        self.model, self.id = request.model, request.id
        self.wants_final = request.parameters.get(_WANTS_FINAL) is True
        request.deadline_s = stream.left_s()
        request.key = stream.head.key
        return request

    def attribute(self, name: str) -> str:
        """Return the first value of a metadata key of the stream."""
        return first_value(self._stream.head.fields, name)

    def encode(self, served: Served) -> Parts:
        """Return the message of one response; nothing for a bare end that the client does not want to be told of."""
        response = served.response
        self.decoupled, self.version = served.decoupled, str(response.version)
        if served.decoupled and response.final and not response.outputs:
            return self.bare_end() if self.wants_final else []
        response.parameters = {**response.parameters, _IS_FINAL: response.final}
        parts = encode_response(response)
        return [field_head(_INFER_RESPONSE, sum([len(part) for part in parts])), *parts]

    def bare_end(self) -> Parts:
        """Return the message that says that no further response follows."""
        message = service_pb2.ModelStreamInferResponse()
        self._describe(message.infer_response, final=True)
        return [message.SerializeToString()]

    def error(self, error: PenstockError) -> Parts:
        """Return the message of an error; one of the model says which model, and whether more follows."""
        message = service_pb2.ModelStreamInferResponse(error_message=words_of(error))
        message.infer_response.id = self.id
        if isinstance(error, UpstreamFailure):
            self._describe(message.infer_response, final=not self.decoupled)
        return [message.SerializeToString()]

    def _describe(self, response: Any, *, final: bool) -> None:
        response.model_name, response.model_version, response.id = self.model, self.version, self.id
        response.parameters[_IS_FINAL].bool_param = final


class _Lane:
    """One request's place in the order of answers: its only response once that is there, or that it has no place."""

    __slots__ = ("free", "parts")

    def __init__(self) -> None:
        self.parts: Parts | None = None
        self.free = False


class InferStream(Streaming):
    """One ``ModelStreamInfer`` call."""

    __slots__ = ("_in_flight", "_order", "_tasks")

    def __init__(self, site: Site, connection: Connection, stream: Stream) -> None:
        super().__init__(site, connection, stream)
        self._tasks: set[asyncio.Task[None]] = set()
        self._order: deque[_Lane] = deque()
        self._in_flight = 0

    @property
    def busy(self) -> bool:
        """Whether as many requests are worked on as may be."""
        return self._in_flight >= self.site.limits.max_stream_in_flight

    def refused(self, error: PenstockError) -> None:
        """Count a request that never reached the pipeline."""
        self.site.pipeline.refused(PROTOCOL, "", error)

    def take(self, compressed: bool, message: Buffer) -> None:
        """Begin to work on a request."""
        hold = Hold(self.site.budget)
        hold.add(len(message))
        self._in_flight += 1
        lane = _Lane()
        self._order.append(lane)
        task = self.start(self._work(lane, compressed, message, hold))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: hold.release())

    def drained(self) -> None:
        """End the stream when everything is answered."""
        if not self._in_flight:
            self.finish()

    def cancel(self) -> None:
        """Give up every request."""
        for task in self._tasks:
            task.cancel()

    async def _work(self, lane: _Lane, compressed: bool, message: Buffer, hold: Hold) -> None:
        call = StreamedCall(self, b"")
        try:
            if compressed:
                message = await self._inflated(message, hold)
            call = StreamedCall(self, message)
            async with aclosing(self.site.pipeline.stream(call)) as answers:
                async for parts in answers:
                    await self._answer(call, lane, parts)
        except PenstockError as error:
            self._wrong(lane, error, call)
        except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
            self._wrong(lane, defect(error, self.head.path), call)
        self._done(lane)

    async def _inflated(self, message: Buffer, hold: Hold) -> Buffer:
        try:
            return await self.plain(message, hold)
        except PenstockError as error:
            self.refused(error)
            raise

    async def _answer(self, call: StreamedCall, lane: _Lane, parts: Parts) -> None:
        if not call.decoupled:
            lane.parts = parts
            return
        whole = not parts or self.send(parts)
        self._leave_order(lane)
        if not whole:
            await self.room()

    def _wrong(self, lane: _Lane, error: PenstockError, call: StreamedCall) -> None:
        if self.head.errors_as_status and isinstance(error, UpstreamFailure):
            self.fail(error)
        elif not call.decoupled:
            lane.parts = call.error(error)
        else:
            self.send(call.error(error))
            if call.wants_final:
                self.send(call.bare_end())

    def _leave_order(self, lane: _Lane) -> None:
        """Let the requests behind a decoupled one not wait for it."""
        if not lane.free:
            lane.free = True
            self._order.remove(lane)
            self._flush()

    def _done(self, lane: _Lane) -> None:
        """Let the answers go whose turn it is, and take further requests for them."""
        if lane.free:
            self._in_flight -= 1
        elif lane.parts is None:
            lane.parts = []
        self._flush()
        self.data(b"", self.half_closed)

    def _flush(self) -> None:
        order = self._order
        while order and order[0].parts is not None:
            parts = order.popleft().parts
            self._in_flight -= 1
            if parts:
                self.send(parts)
