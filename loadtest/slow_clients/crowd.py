"""``python -m loadtest.slow_clients.crowd HOST:PORT CLIENTS``: slow clients, in a process apart from whoever measures.

It opens its clients within a second of each line that it reads, dribbles until the server has ended every one of them,
and writes a line of JSON: by kind, the seconds from opening to end of each client, and what the server told it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass

import orjson

from services.core.address import Address

KINDS = ("head", "body", "read")
GIVE_UP_S = 40.0
_OPENING_S = 1.0
_DRIBBLE_S = 1.0
_LOOK_S = 0.1
_CONNECT_TIMEOUT_S = 5.0
# Small, so that an answer which is not read stays with the server.
_RECEIVE_BYTES = 4096
_PIPELINED = 200


@dataclass
class SlowClient:
    """One connection on which next to nothing is sent or read.

    Attributes:
        kind: One of ``KINDS``.
        opened: When it was opened.
        held: Its socket; None before and after.
        ended: When the server ended it; None before.
        said: The beginning of what the server said.
        dribbled: When it last sent or read something.
        file: Its socket's number.
    """

    kind: str
    opened: float = 0.0
    held: socket.socket | None = None
    ended: float | None = None
    said: bytes = b""
    dribbled: float = 0.0
    file: int = -1

    def open(self, address: Address, now: float) -> None:
        """Connect, and send what begins a request, or many whose answers nobody reads.

        Raises:
            OSError: The server does not take the connection.
        """
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.held = held = socket.socket(family, socket.SOCK_STREAM)
        if self.kind == "read":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        held.settimeout(_CONNECT_TIMEOUT_S)
        held.connect((address.host, address.port))
        self.file = held.fileno()
        self.opened = self.dribbled = now
        held.setblocking(False)
        host = f" HTTP/1.1\r\nHost: {address}\r\n".encode()
        if self.kind == "head":
            held.send(b"GET /v2/health/live" + host + b"X-Slow: ")
        elif self.kind == "body":
            held.send(b"POST /v2/repository/index" + host + b"Content-Length: 500000\r\n\r\n")
        else:
            held.send((b"GET /openapi.json" + host + b"\r\n") * _PIPELINED)

    def dribble(self, now: float) -> None:
        """Send or read one byte more."""
        if self.held is None:
            return
        self.dribbled = now
        try:
            if self.kind == "read":
                self._take(self.held.recv(1), now)
            else:
                self.held.send(b"x")
        except BlockingIOError:
            return
        except OSError:
            self._end(now)

    def notice(self, now: float) -> None:
        """Look at what the server said or did."""
        if self.held is None:
            return
        try:
            if self.kind != "read":
                self._take(self.held.recv(_RECEIVE_BYTES), now)
            elif self.held.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._end(now)
        except BlockingIOError:
            return
        except OSError:
            self._end(now)

    def close(self) -> None:
        """Close the socket."""
        if self.held is not None:
            self.held.close()
            self.held = None

    def _take(self, data: bytes, now: float) -> None:
        if data:
            self.said = (self.said + data)[:32]
        else:
            self._end(now)

    def _end(self, now: float) -> None:
        self.ended = now
        self.close()


def run_crowd(address: Address, count: int, give_up_s: float = GIVE_UP_S) -> dict[str, object]:
    """Open slow clients and wait for their end.

    Returns:
        By kind ``seconds`` and ``statuses``; and how many were ``left`` after ``give_up_s`` or ``refused`` at once.
    """
    clients = [SlowClient(KINDS[number % len(KINDS)]) for number in range(count)]
    dribbling, held = deque[SlowClient](), dict[int, SlowClient]()
    refused = opened = 0
    begun = time.monotonic()
    # What it costs to be slow must not slow down the others: no look at a client to which nothing happened.
    with select.epoll() as poll:
        while (now := time.monotonic()) - begun <= give_up_s and (opened < count or held):
            while opened < count and now - begun >= _OPENING_S * opened / count:
                client = clients[opened]
                opened += 1
                try:
                    client.open(address, now)
                except OSError:
                    refused += 1
                    client.close()
                    continue
                held[client.file] = client
                dribbling.append(client)
                poll.register(client.file, 0 if client.kind == "read" else select.EPOLLIN)
            while dribbling and now - dribbling[0].dribbled >= _DRIBBLE_S:
                client = dribbling.popleft()
                if held.get(client.file) is not client:
                    continue
                client.dribble(now)
                dribbling.append(client)
                if client.held is None:
                    del held[client.file]
            wait_s = _OPENING_S / count if opened < count else _LOOK_S
            if dribbling:
                wait_s = min(wait_s, max(0.0, dribbling[0].dribbled + _DRIBBLE_S - now))
            for file, _ in poll.poll(wait_s):
                held[file].notice(time.monotonic())
                if held[file].held is None:
                    del held[file]
    left = sum(client.held is not None for client in clients)
    for client in clients:
        client.close()
    return {"left": left, "refused": refused, "seconds": _seconds(clients), "statuses": _statuses(clients)}


def _seconds(clients: list[SlowClient]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for client in clients:
        if client.ended is not None:
            found[client.kind].append(round(client.ended - client.opened, 3))
    return found


def _statuses(clients: list[SlowClient]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
    for client in clients:
        status = client.said[9:12].decode("ascii", "replace") or "none"
        found[client.kind][status] = found[client.kind].get(status, 0) + 1
    return found


def main() -> None:
    """Run one crowd for every line of the standard input."""
    address, count = Address.parse(sys.argv[1], "address"), int(sys.argv[2])
    with contextlib.suppress(KeyboardInterrupt):
        for _ in sys.stdin:
            sys.stdout.buffer.write(orjson.dumps(run_crowd(address, count)) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
