"""From a complete request to its reply, whatever happens on the way."""

from __future__ import annotations

import logging
import uuid

from services.core.errors import PenstockError
from services.gateway.edge.buffer_budget import Hold
from services.gateway.edge.compression import compress
from services.gateway.edge.paced import paced
from services.gateway.edge.rest.infer import PROTOCOL, Buffer, InferHead, RestCall, needs_preparation, prepared
from services.gateway.edge.rest.opening import Opening
from services.gateway.edge.rest.response import LateReply, Reply, error_reply
from services.gateway.edge.rest.site import Site

_log = logging.getLogger(__name__)


async def infer_reply(site: Site, infer: InferHead, body: Buffer, hold: Hold) -> Reply:
    """Answer an inference request; an error is an answer too.

    Args:
        site: Where it is served.
        infer: What its head says.
        body: Its whole body.
        hold: What it takes of the worker's memory.
    """
    try:
        if needs_preparation(infer, body, site.limits):
            call = await _prepared(site, infer, body, hold)
        else:
            call = RestCall(infer, body, site.limits)
        answer = await site.pipeline.serve(call)
        reply = await paced(answer.written_out()) if isinstance(answer, LateReply) else answer
        if infer.accepts:
            reply = await _compressed(reply, infer.accepts)
    except PenstockError as error:
        return error_reply(error)
    except Exception as error:  # noqa: BLE001 - the last line before a client without an answer
        return error_reply(defect(error))
    return reply


async def document_reply(site: Site, opening: Opening, body: bytes, client: tuple[str, int] | None) -> Reply:
    """Answer any other request."""
    try:
        return await site.bridge.ask(opening.head, body, client)
    except PenstockError as error:
        return error_reply(error)
    except Exception as error:  # noqa: BLE001 - as above
        return error_reply(defect(error))


def defect(error: Exception) -> PenstockError:
    """Log an error that nobody expected, and return what its client is told."""
    incident = uuid.uuid4().hex[:12]
    _log.error("incident %s: a REST request", incident, exc_info=error)
    return PenstockError(f"the gateway failed at this request (incident {incident}); its log has the details")


async def _prepared(site: Site, infer: InferHead, body: Buffer, hold: Hold) -> RestCall:
    try:
        return await paced(prepared(infer, body, site.limits, hold.add))
    except PenstockError as error:
        site.pipeline.refused(PROTOCOL, infer.model, error)
        raise


async def _compressed(reply: Reply, coding: bytes) -> Reply:
    body = await paced(compress(coding, reply.parts))
    return Reply(reply.status, b"%sContent-Encoding: %s\r\n" % (reply.fields, coding), [body])
