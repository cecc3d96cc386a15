"""Records of the audit log as they are shown: a page of them, and lines. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from services.controller.dashboard import words
from services.controller.storage.store import AuditPage, AuditQuery
from services.core.errors import InvalidRequest
from services.core.rollouts.audit import AuditOutcome, AuditRecord, Standing

SHOWN = 50
_FILTERS = ("model", "rollout", "actor")
_LONGEST_FILTER = 300
_LAST_PLACE = 2**31 - 1
# The kind of badge that each outcome has; its sign is that of the kind.
_KINDS = {AuditOutcome.DONE: "pass", AuditOutcome.REPEATED: "inconclusive", AuditOutcome.REFUSED: "fail"}


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One record.

    Attributes:
        at: When, seconds since the epoch.
        actor: Who.
        action: What was asked for or done.
        model: Of which model; empty where of none.
        rollout: Of which rollout; empty where of none.
        outcome: What became of it.
        kind: The kind of badge that it has.
        change: From which state to which; the state alone where nothing was changed.
        reason: Why it was done, or why it was refused.
    """

    at: float
    actor: str
    action: str
    model: str
    rollout: str
    outcome: str
    kind: str
    change: str
    reason: str

    @property
    def mark(self) -> str:
        """The sign of the outcome."""
        return words.mark(self.kind)


@dataclass(frozen=True, slots=True)
class AuditLogPage:
    """A page of the audit log.

    Attributes:
        lines: The records, the latest first.
        filters: What was asked for, by name; empty for all.
        live: Whether it is the latest page, which moves.
        live_from: Where its lines come from again.
        older: Where older records are; empty without any.
        document: Where the same is as JSON.
    """

    lines: tuple[AuditLine, ...]
    filters: Mapping[str, str]
    live: bool
    live_from: str
    older: str
    document: str


def audit_query(asked: Mapping[str, str]) -> AuditQuery:
    """Return what an address asks for.

    Raises:
        InvalidRequest: A filter is too long, or the place is none.
    """
    filters = {name: asked.get(name, "").strip() for name in _FILTERS}
    for name, value in filters.items():
        if len(value) > _LONGEST_FILTER:
            raise InvalidRequest(f"{name} has {len(value):,} characters; expected at most {_LONGEST_FILTER}")
    return AuditQuery(**{name: value or None for name, value in filters.items()}, before=_place(asked), limit=SHOWN)


def audit_log_page(asked: AuditQuery, found: AuditPage) -> AuditLogPage:
    """Return what is shown of the records that were found."""
    named = {"model": asked.model, "rollout": asked.rollout, "actor": asked.actor}
    filters = {name: value for name, value in named.items() if value is not None}
    place = {} if asked.before is None else {"before": str(asked.before)}
    return AuditLogPage(
        lines=audit_lines(found.records),
        filters=filters,
        live=asked.before is None,
        live_from=_address("/audit/live", filters),
        older="" if found.more is None else _address("/audit", filters | {"before": str(found.more)}),
        document=_address("/v1/audit", filters | place),
    )


def audit_lines(records: Iterable[AuditRecord]) -> tuple[AuditLine, ...]:
    """Return records as lines, in their order."""
    return tuple(_line(record) for record in records)


def _line(record: AuditRecord) -> AuditLine:
    return AuditLine(
        at=record.at,
        actor=record.actor,
        action=record.action.replace("_", " "),
        model=record.model,
        rollout=record.rollout or "",
        outcome=record.outcome.value,
        kind=_KINDS[record.outcome],
        change=_change(record.source, record.target),
        reason=words.brief(record.reason),
    )


def _change(source: Standing | None, target: Standing | None) -> str:
    known = [_standing(each) for each in (source, target) if each is not None]
    return f" {words.ARROW} ".join(known) or words.NOTHING


def _standing(standing: Standing) -> str:
    if standing.phase is None:
        if standing.candidate is None:
            return f"version {standing.stable}"
        return f"version {standing.stable}, {words.weight(standing.weight_percent)} to version {standing.candidate}"
    step = "" if standing.step is None else f", step {standing.step + 1}"
    return f"{words.state(standing.phase.value)}{step}, {words.weight(standing.weight_percent)}"


def _place(asked: Mapping[str, str]) -> int | None:
    text = asked.get("before", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_PLACE))):
        raise InvalidRequest(f"before is '{text[:40]}'; expected the place that an older page was linked with")
    return min(int(text), _LAST_PLACE)


def _address(path: str, parameters: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path
