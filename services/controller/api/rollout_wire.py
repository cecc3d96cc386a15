"""Messages of ``RolloutService``, made from the documents that REST shows and read by the models that REST reads by.

There is no second conversion beside REST's: a field that a document has and a message lacks is an error. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from services.controller.api.rest_models import RolloutModel, StartModel, VerbModel
from services.controller.api.views import forecast_view, history_view, plan_view, rollout_view
from services.controller.storage.audit_documents import record_document
from services.controller.storage.store import AuditPage, AuditQuery
from services.core.errors import InvalidRequest
from services.core.rollouts.forecast import Forecast
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.thin_traffic import TrafficPlan
from services.pb.penstock.v1 import rollouts_pb2 as pb

MAX_LISTED = 1000
_DEFAULT_LISTED = 100
_LAST_PLACE = 2**31 - 1
Sent = TypeVar("Sent", bound=Message)
Model = TypeVar("Model", bound=BaseModel)


def message_of(document: bytes, message: Sent) -> Sent:
    """Fill a message from a JSON document with its field names.

    Raises:
        ValueError: The document has a field that the message lacks, or of another kind.
    """
    try:
        json_format.Parse(document, message)
    except json_format.ParseError as error:
        raise ValueError(f"{message.DESCRIPTOR.full_name} does not fit its document: {error}") from error
    return message


def start_from(request: pb.StartRolloutRequest) -> StartModel:
    """Return a checked request for a rollout; errors as in ``plan_from``."""
    document = _document(request)
    return _checked(StartModel, {**document.pop("spec", {}), **document})


def plan_from(request: pb.RolloutSpec) -> RolloutModel:
    """Return a checked specification.

    Raises:
        InvalidRequest: A field is missing or out of its range.
    """
    return _checked(RolloutModel, _document(request))


def verb_from(request: pb.VerbRequest) -> VerbModel:
    """Return who uses a verb, and why; errors as in ``plan_from``."""
    return _checked(VerbModel, {name: value for name, value in _document(request).items() if name != "id"})


def listed_from(request: pb.ListRolloutsRequest) -> tuple[str | None, bool, int]:
    """Return which model's rollouts are wanted, whether only active ones, and how many; errors as in ``plan_from``."""
    return request.model if request.HasField("model") else None, request.active, _limit(request)


def audit_query_from(request: pb.ListAuditRequest) -> AuditQuery:
    """Return which records of the audit log are wanted; errors as in ``plan_from``."""
    asked: dict[str, Any] = {field.name: value for field, value in request.ListFields()}
    before = request.before if request.HasField("before") else None
    if before is not None and not 1 <= before <= _LAST_PLACE:
        raise InvalidRequest(f"before is {before}; expected a place that an earlier answer named, 1 to {_LAST_PLACE}")
    return AuditQuery(asked.get("model"), asked.get("rollout"), asked.get("actor"), before, _limit(request))


def rollout_message(rollout: Rollout) -> pb.Rollout:
    """Return a rollout as REST shows it."""
    return message_of(orjson.dumps(rollout_view(rollout)), pb.Rollout())


def state_message(event: bytes) -> pb.RolloutState:
    """Return what the event feed tells of a rollout."""
    rollout = orjson.loads(event)
    serving = rollout.pop("serving")
    return message_of(orjson.dumps({"rollout": rollout, "serving": serving}), pb.RolloutState())


def rollouts_message(rollouts: Sequence[Rollout]) -> pb.ListRolloutsResponse:
    """Return rollouts, the latest first."""
    return pb.ListRolloutsResponse(rollouts=[rollout_message(rollout) for rollout in rollouts])


def history_message(rollout_id: str, history: Sequence[HistoryEntry]) -> pb.History:
    """Return a rollout's history."""
    document = {"id": rollout_id, "history": [history_view(entry) for entry in history]}
    return message_of(orjson.dumps(document), pb.History())


def explanation_message(rollout_id: str, lines: Sequence[str], coming: Forecast | None) -> pb.Explanation:
    """Return a rollout in plain words."""
    document = {"id": rollout_id, "lines": list(lines), "forecast": forecast_view(coming)}
    return message_of(orjson.dumps(document), pb.Explanation())


def plan_message(model: str, found: TrafficPlan) -> pb.Plan:
    """Return how long each step will take."""
    return message_of(orjson.dumps(plan_view(model, found)), pb.Plan())


def audit_message(page: AuditPage) -> pb.ListAuditResponse:
    """Return a page of the audit log."""
    document = {"audit": [record_document(record) for record in page.records], "more": page.more}
    return message_of(orjson.dumps(document), pb.ListAuditResponse())


def _document(request: Message) -> dict[str, Any]:
    document: dict[str, Any] = json_format.MessageToDict(request, preserving_proto_field_name=True)
    return document


def _checked(model: type[Model], document: dict[str, Any]) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise InvalidRequest("; ".join(faults)) from error


def _limit(request: pb.ListRolloutsRequest | pb.ListAuditRequest) -> int:
    limit: int = request.limit if request.HasField("limit") else _DEFAULT_LISTED
    if not 1 <= limit <= MAX_LISTED:
        raise InvalidRequest(f"limit is {limit}; expected 1 to {MAX_LISTED}")
    return limit
