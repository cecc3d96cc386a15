"""``python -m loadtest.bench.sink HOST:PORT``: takes what is posted, answers 200 and forgets it, as cheaply as may be.

It stands for a collector of spans: a traced gateway shall pay for its export, and the machine not for a collector.
"""

from __future__ import annotations

import asyncio
import sys

from services.core.address import Address

_LENGTH = b"content-length:"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection until its client closes it."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line[len(_LENGTH) :] for line in head.lower().split(b"\r\n") if line.startswith(_LENGTH)]
            await reader.readexactly(int(lengths[0]) if lengths else 0)
            writer.write(_ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(address: Address) -> None:
    """Serve until cancelled."""
    server = await asyncio.start_server(take, address.host, address.port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Address.parse(sys.argv[1], "address")))
