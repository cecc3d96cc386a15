"""Ports: free ones, taken ones, and ones that several workers share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from services.core.errors import ConfigurationError
from services.process.ports import choose_free_port, choose_free_ports, ensure_free, listen_shared, port_of


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_chosen_ports_are_free_and_different() -> None:
    ports = choose_free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
    ensure_free("127.0.0.1", choose_free_port())


def test_a_taken_port_is_named_with_its_holder_and_the_setting_to_change(listener: socket.socket) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ensure_free("127.0.0.1", port_of(listener), "gateway.http_port")
    words = str(caught.value)
    assert f"port {port_of(listener)}" in words
    assert f"process {os.getpid()}" in words
    assert "gateway.http_port" in words


def test_connections_of_an_ended_server_do_not_keep_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = port_of(listening)
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listening.accept()
            accepted.close()  # the server closes first, so its side lingers in TIME_WAIT
    ensure_free("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="address of this machine"):
        ensure_free("203.0.113.7", 0)


def test_a_port_beyond_the_range_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="0 to 65535"):
        ensure_free("127.0.0.1", 70_000)


def test_a_connection_waits_for_a_worker_that_is_replaced() -> None:
    held = listen_shared("127.0.0.1", 0, 1)[0]
    with held, held.dup() as worker:
        client = socket.create_connection(("127.0.0.1", port_of(held)), timeout=1.0)
        worker.close()
        with held.dup() as successor, client:
            accepted, _ = successor.accept()
            with accepted:
                client.sendall(b"hello")
                assert accepted.recv(5) == b"hello"


def test_connections_spread_over_all_sockets_of_a_port() -> None:
    held = listen_shared("127.0.0.1", 0, 2)
    assert port_of(held[0]) == port_of(held[1])
    clients = [socket.create_connection(("127.0.0.1", port_of(held[0])), timeout=1.0) for _ in range(64)]
    for listener in held:
        listener.setblocking(False)
        accepted, _ = listener.accept()
        accepted.close()
        listener.close()
    for client in clients:
        client.close()


def test_a_listening_socket_keeps_others_out() -> None:
    held = listen_shared("127.0.0.1", 0, 1)[0]
    with held, pytest.raises(ConfigurationError, match="in use"):
        listen_shared("127.0.0.1", port_of(held), 1, "gateway.http_port")


def test_a_port_where_a_stranger_listens_is_not_taken_even_if_he_would_share_it() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as stranger,
        pytest.raises(ConfigurationError, match="in use"),
    ):
        listen_shared("127.0.0.1", port_of(stranger), 1, "gateway.http_port")
