"""ModelStreamInfer: requests of one stream, several at once, answered as Triton answers them.

The responses of models that are not decoupled come in the order of their requests; those of decoupled ones come when
they come. An error of one request is a message that carries the request's id, and the stream goes on; a client that
sends ``triton_grpc_error: true`` gets it as the status of the whole stream instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing

from tritonclient.grpc import service_pb2

from services.core.errors import PenstockError
from services.core.inference import InferRequest
from services.gateway.edge.buffer_budget import Hold
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
        decoupled: Whether a response came that was not the last one.
    """

    __slots__ = (
        "_message",
        "_stream",
        "_wants_final",
        "decoupled",
        "id",
        "model",
        "protocol",
        "traceparent",
        "tracestate",
    )

    def __init__(self, stream: InferStream, message: Buffer) -> None:
        self.protocol = PROTOCOL
        self.model = ""
        self.id = ""
        self.traceparent = stream.head.traceparent
        self.tracestate = stream.head.tracestate
        self.decoupled = False
        self._stream = stream
        self._message = message
        self._wants_final = False

    def decode(self) -> InferRequest:
        """Turn the message, the deadline and the metadata into a request."""
        stream = self._stream
        request = stream.site.wire.read(self._message)
        self.model, self.id = request.model, request.id
        self._wants_final = request.parameters.get(_WANTS_FINAL) is True
        request.deadline_s = stream.left_s()
        request.key = stream.head.key
        return request

    def encode(self, served: Served) -> Parts:
        """Return the message of one response; nothing for an end that the client did not ask to be told of."""
        response = served.response
        if not response.final:
            self.decoupled = True
        elif not response.outputs and not self._wants_final:
            self.decoupled = True
            return []
        if self._wants_final:
            response.parameters = {**response.parameters, _IS_FINAL: response.final}
        parts = encode_response(response)
        return [field_head(_INFER_RESPONSE, sum([len(part) for part in parts])), *parts]


class _Lane:
    """One request's place in the order of answers: its only response, once that is there."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: Parts | None = None


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
        call: StreamedCall | None = None
        try:
            if compressed:
                message = await self.plain(message, hold)
            call = StreamedCall(self, message)
            async with aclosing(self.site.pipeline.stream(call)) as answers:
                async for parts in answers:
                    await self._answer(call, lane, parts)
        except PenstockError as error:
            self._wrong(lane, error, call)
        except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
            self._wrong(lane, defect(error, self.head.path), call)
        self._done(lane)

    async def _answer(self, call: StreamedCall, lane: _Lane, parts: Parts) -> None:
        if not call.decoupled:
            lane.parts = parts
            return
        if lane in self._order:
            self._order.remove(lane)
            self._flush()
        if parts and not self.send(parts):
            await self.room()

    def _wrong(self, lane: _Lane, error: PenstockError, call: StreamedCall | None) -> None:
        if call is None:
            self.refused(error)
        if self.head.errors_as_status:
            self.fail(error)
            return
        message = service_pb2.ModelStreamInferResponse(error_message=words_of(error))
        message.infer_response.id = call.id if call is not None else ""
        parts: Parts = [message.SerializeToString()]
        if lane in self._order:
            lane.parts = parts
        else:
            self.send(parts)

    def _done(self, lane: _Lane) -> None:
        """Let the answers go whose turn it is, and take further requests for them."""
        if lane not in self._order:
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
