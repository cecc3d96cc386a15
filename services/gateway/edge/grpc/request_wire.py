"""``ModelInferRequest`` as bytes, read without making a message of it where that is safe. Pure.

A client sends the same request again and again with other data. Everything but the raw contents and the id is
therefore looked up by its bytes: protobuf parses it once (``codec.decode``), and later requests with the same bytes
only add their own data, which stay where they arrived. The layout that makes this possible, raw contents last, is the
one that every serializer writes; any other takes the way through protobuf, and so does whatever looks wrong.

Counting the fields of a message before protobuf sees it also bounds what it can allocate for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from services.core.errors import InvalidRequest
from services.core.inference import InferRequest, Parameter, RequestedOutput
from services.core.tensor import Tensor
from services.gateway.edge.grpc.codec import decode
from services.gateway.edge.grpc.message_reader import Buffer
from services.gateway.limits import Limits

_ID, _RAW = 0x1A, 0x3A
_LENGTH_DELIMITED = 2
_MOST_TEMPLATES = 256
_MOST_TEMPLATE_BYTES = 2048
_MOST_VARINT_BYTES = 10
_MOST_IN_A_BYTE = 0x7F


@dataclass(frozen=True, slots=True)
class Template:
    """All of a request but its id and data.

    Attributes:
        model: Model name.
        version: The version that the client named, or None.
        inputs: Name, datatype and shape of each input.
        outputs: Requested outputs.
        parameters: Request parameters.
    """

    model: str
    version: int | None
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[RequestedOutput, ...]
    parameters: dict[str, Parameter]

    def fill(self, id_: str, raw: list[memoryview]) -> InferRequest:
        """Return the request with these data."""
        request = InferRequest(self.model, self.version, id_)
        request.inputs = [
            Tensor(name, datatype, shape, data) for (name, datatype, shape), data in zip(self.inputs, raw, strict=True)
        ]
        if self.outputs:
            request.outputs = [replace(output) for output in self.outputs]
        if self.parameters:
            request.parameters = dict(self.parameters)
        return request


class Layout:
    """Where the parts of one message are.

    Attributes:
        key: The message without its id and raw contents.
        id: The id, as bytes.
        raw: The raw contents.
    """

    __slots__ = ("id", "key", "raw")

    def __init__(self, key: bytes, id_: bytes, raw: list[memoryview]) -> None:
        self.key = key
        self.id = id_
        self.raw = raw


class RequestWire:
    """Reads requests.

    Args:
        limits: What a request may have.
    """

    __slots__ = ("_limits", "_most_fields", "_templates")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most_fields = 2 * limits.max_inputs + limits.max_outputs + limits.max_parameters + 8
        self._templates: dict[bytes, Template] = {}

    def read(self, data: Buffer) -> InferRequest:
        """Parse a message.

        Raises:
            InvalidRequest: It is no ``ModelInferRequest``, or no request of the protocol.
            Forbidden: It wants shared memory.
            NotFound: Its version is no version.
        """
        layout = self._layout(memoryview(data))
        template = None if layout is None else self._templates.get(layout.key)
        if layout is None:
            return decode(_parse(data), self._limits)
        if (
            template is None
            or len(layout.raw) != len(template.inputs)
            or len(layout.id) > self._limits.max_name_bytes
            or not layout.id.isascii()
        ):
            return self._read_whole(data, layout)
        return template.fill(layout.id.decode("ascii"), layout.raw)

    def names(self, data: Buffer) -> tuple[str, str]:
        """Return the model's name and the id of a message that ``read`` refused, as far as they can be told."""
        try:
            self._layout(memoryview(data))
            message = _parse(data)
        except InvalidRequest:
            return "", ""
        return message.model_name, message.id[: self._limits.max_name_bytes]

    def _read_whole(self, data: Buffer, layout: Layout) -> InferRequest:
        request = decode(_parse(data), self._limits)
        if layout.raw and len(layout.key) <= _MOST_TEMPLATE_BYTES:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            self._templates[layout.key] = Template(
                request.model,
                request.version,
                tuple((tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs),
                tuple(replace(output) for output in request.outputs),
                dict(request.parameters),
            )
        return request

    def _layout(self, view: memoryview) -> Layout | None:
        """Find the id and the raw contents; None where they are not where every serializer puts them.

        Raises:
            InvalidRequest: There are more fields than a request can have.
        """
        at, end, fields = 0, len(view), 0
        id_start = id_end = 0
        id_ = b""
        raw: list[memoryview] = []
        raw_start = end
        usual = True
        while at < end:
            start = at
            tag = view[at]
            fields += 1
            if fields > self._most_fields:
                raise self._too_many_fields()
            if tag & 7 != _LENGTH_DELIMITED or tag > _MOST_IN_A_BYTE or at + 1 == end:
                usual = False
                at = _skip(view, at, end)
                continue
            length = view[at + 1]
            at += 2
            if length > _MOST_IN_A_BYTE:
                length, at = _varint(view, at - 1, end)
            stop = at + length
            if length < 0 or stop > end:
                return None
            if tag == _RAW:
                if not raw:
                    raw_start = start
                raw.append(view[at:stop])
            elif raw or (tag == _ID and id_end):
                usual = False
            elif tag == _ID:
                id_start, id_end, id_ = start, stop, bytes(view[at:stop])
            at = stop
        return Layout(bytes(view[:id_start]) + bytes(view[id_end:raw_start]), id_, raw) if usual else None

    def _too_many_fields(self) -> InvalidRequest:
        limits = self._limits
        return InvalidRequest(
            f"the request has more than {self._most_fields} fields; at most {limits.max_inputs} inputs, "
            f"{limits.max_outputs} outputs and {limits.max_parameters} parameters are taken"
        )


def _parse(data: Buffer) -> Any:
    message = service_pb2.ModelInferRequest()
    try:
        message.ParseFromString(data if isinstance(data, bytes) else memoryview(data))
    except DecodeError as error:
        raise InvalidRequest(f"these {len(data)} bytes are no ModelInfer request in protobuf: {error}") from error
    return message


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the number and where it ends; -1 for what is no number."""
    value = shift = 0
    for position in range(at, min(end, at + _MOST_VARINT_BYTES)):
        byte = view[position]
        value |= (byte & 0x7F) << shift
        if byte <= _MOST_IN_A_BYTE:
            return value, position + 1
        shift += 7
    return -1, end


def _skip(view: memoryview, at: int, end: int) -> int:
    """Return where an unusual field ends; the message's end where protobuf itself would stop.

    Raises:
        InvalidRequest: It is a group, which the protocol does not have: how many fields are in it, nobody counted.
    """
    tag, at = _varint(view, at, end)
    kind = tag & 7
    if tag < 0:
        return end
    if kind == 0:
        return _varint(view, at, end)[1]
    if kind == _LENGTH_DELIMITED:
        length, at = _varint(view, at, end)
        return at + length if length >= 0 else end
    if kind in (1, 5):
        return at + (8 if kind == 1 else 4)
    raise InvalidRequest("this is no ModelInfer request in protobuf: it has a group")
