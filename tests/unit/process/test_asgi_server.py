import asyncio
import socket
from typing import Any

import pytest

from services.process.asgi_server import AsgiServer
from services.process.ports import listen_shared

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_client_that_takes_nothing_does_not_keep_its_connection() -> None:
    given_up = asyncio.Event()

    async def flood(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            async with asyncio.timeout(0.5):
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 200_000, "more_body": True})
        except TimeoutError:
            given_up.set()

    [listener] = listen_shared("127.0.0.1", 0, 1, "a test")
    server = AsgiServer(flood, listener, frozen_s=1.0)
    await server.start()
    client = socket.create_connection(("127.0.0.1", server.port))
    try:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.wait_for(given_up.wait(), 10.0)
        for _ in range(400):
            await asyncio.sleep(0.05)
            if not server.connections:
                break
        assert server.connections == 0
    finally:
        client.close()
        await server.stop()
