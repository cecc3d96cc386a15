"""TCP ports: choosing a free one, listening on one for several workers, and saying who holds one that is taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from services.core.errors import ConfigurationError

_HIGHEST = 65535
# Connections that wait in one listening socket; the kernel caps it at net.core.somaxconn.
_BACKLOG = 4096


def choose_free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free on ``host`` now.

    Another process can take it before its user binds it: where that matters, ask for a few in a row and retry.
    """
    return choose_free_ports(1, host)[0]


def choose_free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ``count`` different ports that are free on ``host`` now."""
    sockets = [_bound(host, 0, share=False) for _ in range(count)]
    ports = [port_of(held) for held in sockets]
    for held in sockets:
        held.close()
    return ports


def ensure_free(host: str, port: int, setting: str = "the port") -> None:
    """Check that a process could listen on a port.

    Args:
        host: Address to listen on.
        port: Port to check; 0 is always fine.
        setting: What to change when it is taken, as a person would write it, such as ``gateway.rest_port``.

    Raises:
        ConfigurationError: The port is taken (with the process that holds it, where that can be seen), or the address
            is not one of this machine's.
    """
    with _explained(host, port, setting):
        _bound(host, port, share=False).close()


def listen_shared(
    host: str, port: int, count: int, setting: str = "the port", *, listen: bool = True
) -> list[socket.socket]:
    """Listen on one port with several sockets, among which the kernel spreads connections (``SO_REUSEPORT``).

    Each is for one worker, which inherits it. The caller keeps them open while workers come and go: a connection that
    arrives while a worker is replaced waits in its socket's queue instead of being lost with it.

    Returns:
        The sockets, which the caller closes after the last worker; port 0 chooses a free port for all of them.

    Raises:
        ConfigurationError: Another process already listens there; errors as in ``ensure_free``.
    """
    held: list[socket.socket] = []
    try:
        with _explained(host, port, setting):
            if port:
                # A foreign listener that also set SO_REUSEPORT would let us in and share its traffic with us: look.
                _bound(host, port, share=False).close()
            for _ in range(count):
                held.append(_bound(host, port or (port_of(held[0]) if held else 0), share=True))
            for listener in held if listen else ():
                listener.listen(_BACKLOG)
    except BaseException:
        for listener in held:
            listener.close()
        raise
    return held


def holder_of(port: int) -> str | None:
    """Return name and process id of whoever listens on a TCP port, or None where that cannot be seen."""
    try:
        connections = psutil.net_connections("tcp")
        for connection in connections:
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    return None
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.Error, OSError):
        return None
    return None


def _bound(host: str, port: int, *, share: bool) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    held = socket.socket(family, kind, protocol)
    try:
        # As servers do it: connections of the last run that linger in TIME_WAIT do not keep the port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
        if not share:
            # SO_REUSEADDR lets two sockets bind one port until one of them listens.
            held.listen(1)
    except OSError:
        held.close()
        raise
    return held


def port_of(held: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    return int(held.getsockname()[1])


@contextmanager
def _explained(host: str, port: int, setting: str) -> Iterator[None]:
    if not 0 <= port <= _HIGHEST:
        raise ConfigurationError(f"port {port} does not exist; set {setting} to 0 to {_HIGHEST}")
    try:
        yield
    except socket.gaierror as error:
        raise ConfigurationError(f"cannot listen on host '{host}': {error.strerror}; change the host") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder = holder_of(port)
            by = f" by {holder}" if holder else ""
            raise ConfigurationError(
                f"port {port} on {host} is in use{by}; stop that, or set {setting} to another one (0 chooses)"
            ) from error
        if error.errno == errno.EACCES:
            raise ConfigurationError(f"port {port} needs privileges; set {setting} to 1024 or higher") from error
        raise ConfigurationError(
            f"cannot listen on {host} port {port}: {error.strerror}; expected an address of this machine"
        ) from error
