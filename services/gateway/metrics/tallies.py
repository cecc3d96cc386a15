"""A worker's counts as evidence about versions: what the controller judges rollouts by."""

from __future__ import annotations

from collections.abc import Iterable

from services.core.counts.tally import Tally
from services.core.errors import OK
from services.gateway.metrics.series import FAILURES as _FAILED
from services.gateway.metrics.series import NON_FINITE, PREDICTIONS, REQUEST, VALUES, request_histogram, value_histogram
from services.gateway.metrics.slab import Record
from services.gateway.outcomes import CANCELLED

TallyKey = tuple[str, int, str]  # model, version, role

FAMILIES = frozenset({REQUEST, NON_FINITE, PREDICTIONS, VALUES})


def tallies(records: Iterable[Record]) -> dict[TallyKey, Tally]:
    """Add up the series of one slab by model, version and role.

    Clients' mistakes, refusals before any work, and requests whose clients went away before a version was asked are no
    evidence. One that was given up later is: of a version that hangs, only what it did answer would be known otherwise.
    """
    found: dict[TallyKey, Tally] = {}
    for (family, *about), values in records:
        if family not in FAMILIES:
            continue
        model, *labels = about
        if family == REQUEST:
            version, _protocol, role, outcome = labels
            add = _request_tally(outcome, Record((family, model, *labels), values))
        elif family == NON_FINITE:
            version, role = labels
            add = Tally(non_finite=int(values[0]))
        elif family == VALUES:
            version, role, what = labels
            add = Tally(values={what: value_histogram(values)})
        else:
            version, role, output = labels
            add = Tally(predictions={output: tuple(values.tolist())})
        if version and role and add is not None:
            key = (model, int(version), role)
            found[key] = found[key] + add if key in found else add
    return found


def _request_tally(outcome: str, record: Record) -> Tally | None:
    histogram = request_histogram(record.values)
    if outcome == OK.outcome:
        return Tally(requests=histogram.total, latency=histogram)
    if outcome == CANCELLED:
        return Tally(requests=histogram.total, latency=histogram, unanswered=histogram.total)
    if outcome in _FAILED:
        return Tally(requests=histogram.total, failed=histogram.total)
    return None
