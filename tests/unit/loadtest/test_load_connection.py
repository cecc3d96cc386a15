"""A connection answers with a value whatever the server does, and never sends a request twice that was taken."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtest.connection import HttpConnection
from loadtest.record import Failure

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


class Scripted:
    """A server whose every accepted connection plays one list of answers; None closes it after reading a request."""

    def __init__(self, connections: list[list[bytes | None]]) -> None:
        self._connections = connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for script in self._connections:
            connection, _ = self._listener.accept()
            with connection:
                for answer in script:
                    request = connection.recv(65536)
                    if not request:
                        break
                    self.requests.append(request)
                    if answer is None:
                        break
                    connection.sendall(answer)

    def end(self) -> None:
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()


@contextmanager
def scripted(*connections: list[bytes | None]) -> Iterator[tuple[Scripted, HttpConnection]]:
    server = Scripted(list(connections))
    client = HttpConnection(server.address, timeout_s=2.0)
    try:
        yield server, client
    finally:
        client.close()
        server.end()


def status(outcome: object) -> object:
    return outcome.kind if isinstance(outcome, Failure) else outcome[0]  # type: ignore[index]


def test_one_connection_carries_many_requests() -> None:
    with scripted([OK, OK, OK]) as (server, client):
        assert [status(client.exchange("GET", "/")) for _ in range(3)] == [200, 200, 200]
        client.close()
        assert len(server.requests) == 3


def test_a_connection_that_the_server_ends_after_an_answer_is_replaced() -> None:
    with scripted([CLOSE], [OK]) as (_, client):
        assert [status(client.exchange("GET", "/")) for _ in range(2)] == [200, 200]


def test_an_idle_connection_that_was_closed_costs_no_request() -> None:
    with scripted([OK], [OK]) as (server, client):
        assert status(client.exchange("GET", "/")) == 200
        assert status(client.exchange("GET", "/")) == 200
        client.close()
        assert len(server.requests) == 2


def test_a_fresh_connection_that_breaks_is_a_failure_and_is_not_tried_again() -> None:
    with scripted([None], [OK]) as (server, client):
        assert status(client.exchange("GET", "/")) == "connection reset"
        assert len(server.requests) == 1
        assert status(client.exchange("GET", "/")) == 200


def test_an_answer_that_breaks_off_is_a_failure_even_on_a_reused_connection() -> None:
    with scripted([OK, OK[:-1]], [OK]) as (server, client):
        assert status(client.exchange("GET", "/")) == 200
        assert status(client.exchange("GET", "/")) == "connection reset"
        assert len(server.requests) == 2
        assert status(client.exchange("GET", "/")) == 200


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
def test_what_is_not_http_is_a_failure(answer: bytes) -> None:
    with scripted([answer]) as (_, client):
        assert status(client.exchange("GET", "/")) == "not HTTP"


def test_a_server_that_trickles_its_answer_runs_into_the_timeout() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    client = HttpConnection(f"127.0.0.1:{server.getsockname()[1]}", timeout_s=0.3)
    ended = threading.Event()

    def trickle() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            for byte in OK:
                if ended.wait(0.1):
                    return
                connection.sendall(bytes([byte]))

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert status(client.exchange("GET", "/")) == "timeout"
    finally:
        ended.set()
        client.close()
        thread.join(10)
        server.close()
