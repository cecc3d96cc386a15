"""Every error that Penstock answers with, and the one table that maps them to HTTP and gRPC.

    PenstockError
    |-- InvalidRequest          the client sent something that the model cannot take
    |-- PayloadTooLarge         a body over the limit
    |-- UnsupportedEncoding     a content coding that is not served
    |-- NotFound                no such model, version, rollout or path
    |-- Forbidden               a Triton function that the gate does not open
    |-- Unimplemented           a function of the protocol that is not served
    |-- Overloaded              refused before any work was done
    |-- Unavailable             no upstream could answer
    |-- DeadlineExceeded        the time for an answer ran out
    |-- UpstreamFailure         Triton or the model failed
    |-- Conflict                the state does not allow it (a second rollout, a lost compare-and-swap)
    |-- ConfigurationError      a setting, a recipe or a file is wrong
    |-- BuildFailed             the build stage could not finish; nothing was published
    |-- BuildRefused            the gate refused what was built; nothing was published
    |-- IntegrityError          a published file is not what its manifest says
    `-- MissingDependency       a program or library that this machine lacks

Foreign exceptions are wrapped in one of these at the adapter that met them, chained with ``from``.
"""

from __future__ import annotations

from dataclasses import dataclass


class PenstockError(Exception):
    """An error with words for a person: what was found, what was expected, what to do."""

    @property
    def message(self) -> str:
        """The words alone, without the class name."""
        return str(self)


class InvalidRequest(PenstockError):
    """The client sent something that the model or the protocol cannot take."""


class PayloadTooLarge(PenstockError):
    """A request body is over the limit."""


class UnsupportedEncoding(PenstockError):
    """A content coding or content type is not served."""


class NotFound(PenstockError):
    """No such model, version, rollout or path."""


class Forbidden(PenstockError):
    """A Triton function that the gateway never opens to clients."""


class Unimplemented(PenstockError):
    """A function of the protocol that is not served."""


class Overloaded(PenstockError):
    """Refused before any work was done; trying again after ``retry_after_s`` seconds is safe."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(PenstockError):
    """No upstream could answer."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(PenstockError):
    """The time for an answer ran out."""


class UpstreamFailure(PenstockError):
    """Triton or the model failed while answering."""


class Conflict(PenstockError):
    """The present state does not allow it."""


class ConfigurationError(PenstockError):
    """A setting, a recipe or a file is wrong."""


class BuildFailed(PenstockError):
    """The build stage could not finish; nothing was published."""


class BuildRefused(PenstockError):
    """The gate refused what was built; nothing was published."""


class IntegrityError(PenstockError):
    """A published version is not what its manifest says, or is not made for this machine."""


class MissingDependency(PenstockError):
    """A program or library is not on this machine; ``remedy`` is one line that mends it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Status:
    """How one error class reaches a client.

    Attributes:
        http: HTTP status code.
        grpc: gRPC status code number (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
        outcome: Value of the ``outcome`` label in metrics.
        server_fault: Whether it counts against the version that was asked.
    """

    http: int
    grpc: int
    outcome: str
    server_fault: bool


OK = Status(200, 0, "ok", server_fault=False)
INTERNAL = Status(500, 13, "internal", server_fault=True)

STATUS: dict[type[PenstockError], Status] = {
    InvalidRequest: Status(400, 3, "invalid_argument", server_fault=False),
    PayloadTooLarge: Status(413, 8, "too_large", server_fault=False),
    UnsupportedEncoding: Status(415, 12, "unsupported", server_fault=False),
    NotFound: Status(404, 5, "not_found", server_fault=False),
    Forbidden: Status(403, 7, "forbidden", server_fault=False),
    Unimplemented: Status(501, 12, "unimplemented", server_fault=False),
    Overloaded: Status(429, 8, "overloaded", server_fault=False),
    Unavailable: Status(503, 14, "unavailable", server_fault=True),
    DeadlineExceeded: Status(504, 4, "deadline_exceeded", server_fault=True),
    UpstreamFailure: Status(500, 13, "upstream_failure", server_fault=True),
    Conflict: Status(409, 9, "conflict", server_fault=False),
    ConfigurationError: Status(400, 3, "configuration", server_fault=False),
    BuildFailed: Status(500, 13, "build_failed", server_fault=True),
    BuildRefused: Status(409, 9, "build_refused", server_fault=False),
    IntegrityError: Status(500, 15, "integrity", server_fault=True),
    MissingDependency: Status(503, 9, "missing_dependency", server_fault=True),
}


def status_of(error: BaseException) -> Status:
    """Return the status of an error: its class's row, its nearest ancestor's, or INTERNAL for a foreign one."""
    for cls in type(error).__mro__:
        row = STATUS.get(cls)
        if row is not None:
            return row
    return INTERNAL
