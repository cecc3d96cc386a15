"""How errors leave the controller over gRPC: the same words as over REST, with the status of ``core.errors``."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from services.core.errors import PenstockError, status_of

_LOG = logging.getLogger(__name__)
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class AnsweredElsewhere(Exception):
    """Another controller was asked and refused; its status and words are passed on."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@asynccontextmanager
async def answering(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    """End a call with the right status where its work raises; an unknown error has an id, and the log has the rest."""
    try:
        yield
    except PenstockError as error:
        await context.abort(CODES[status_of(error).grpc], error.message)
    except AnsweredElsewhere as answer:
        await context.abort(answer.code, answer.words)
    except Exception as error:  # noqa: BLE001 - logged with its traceback
        incident = uuid.uuid4().hex[:12]
        _LOG.error("incident %s", incident, exc_info=error)
        words = f"internal error; the controller's log has the rest under {incident}"
        await context.abort(grpc.StatusCode.INTERNAL, words)
