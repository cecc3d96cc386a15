"""A client that puts on the wire whatever a test wants, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from tests.fakes.gateway import Running

BODY = orjson.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]})
PATH = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\n"
REQUEST = PATH + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@asynccontextmanager
async def connected(running: Running) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway.http_port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
    """Read one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = (line.split(b": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in fields}
    return int(status.split()[1]), headers, await reader.readexactly(int(headers.get(b"content-length", b"0")))
