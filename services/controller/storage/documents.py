"""Rollouts, routes and history as JSON documents, and back. Pure.

Latency histograms are sparse, so a stored rollout is a few kilobytes per gateway worker. Reading is strict: a document
that does not fit is an error, never a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
from pydantic import TypeAdapter

from services.controller.storage.comparison_document import (
    comparison_document,
    comparison_from,
    latency_document,
    latency_from,
)
from services.controller.storage.memory_document import (
    arms_memory_document,
    arms_memory_from,
    memory_document,
    memory_from,
    with_memory,
)
from services.controller.storage.values_document import values_document, values_from, with_later_tests
from services.core.analysis.assessment import Terms
from services.core.analysis.verdict import Verdict
from services.core.counts.tally import Tally
from services.core.errors import ConfigurationError, PenstockError
from services.core.mirror import Mirror
from services.core.rollouts.custom_metric import Measurements
from services.core.rollouts.evidence import Evidence, Seen, Sighting
from services.core.rollouts.history import HistoryEntry, Judged
from services.core.rollouts.outcomes import Totals
from services.core.rollouts.rollout import Phase, Rollout
from services.core.rollouts.rollout_spec import RolloutSpec
from services.core.route import Arm, Route

_SPEC = TypeAdapter(RolloutSpec)
_VERDICT = TypeAdapter(Verdict)
_TERMS = TypeAdapter(Terms)
_MEASUREMENTS = TypeAdapter(dict[str, Measurements])
_OUTCOMES = TypeAdapter(dict[int, Totals])


def tally_document(tally: Tally) -> dict[str, Any]:
    """Return a tally as JSON-able values; ``latency`` holds parallel lists of bucket indices and counts."""
    return {
        "requests": tally.requests,
        "failed": tally.failed,
        "non_finite": tally.non_finite,
        "latency": latency_document(tally.latency),
        "predictions": {output: list(counts) for output, counts in tally.predictions.items()},
        "values": values_document(tally.values),
        "unanswered": tally.unanswered,
    }


def tally_from(document: dict[str, Any]) -> Tally:
    """Return the tally that ``tally_document`` wrote."""
    return Tally(
        document["requests"],
        document["failed"],
        document["non_finite"],
        latency_from(document["latency"]),
        {output: tuple(values) for output, values in document["predictions"].items()},
        # Absent in a database from before they were counted: there are none.
        values_from(document.get("values", {})),
        document.get("unanswered", 0),
    )


def _sighting_document(sighting: Sighting) -> dict[str, Any]:
    return {
        "sequence": sighting.sequence,
        "served_generation": sighting.served_generation,
        "stable": tally_document(sighting.stable),
        "candidate": tally_document(sighting.candidate),
        "comparison": comparison_document(sighting.comparison),
        "floor": comparison_document(sighting.floor),
        "arms": _arms_document(sighting.arms),
    }


def _arms_document(arms: Mapping[int, Tally]) -> dict[str, Any]:
    return {str(version): tally_document(tally) for version, tally in arms.items()}


def _arms_from(document: dict[str, Any]) -> dict[int, Tally]:
    """Return tallies by version; a document from before there were A/B tests has none."""
    return {int(version): tally_from(tally) for version, tally in document.get("arms", {}).items()}


def _sighting_from(document: dict[str, Any]) -> Sighting:
    return Sighting(
        document["sequence"],
        document["served_generation"],
        tally_from(document["stable"]),
        tally_from(document["candidate"]),
        comparison_from(document["comparison"]),
        comparison_from(document["floor"]),
        _arms_from(document),
    )


def verdict_document(verdict: Verdict | None) -> dict[str, Any] | None:
    """Return a verdict with its words as JSON-able values."""
    return None if verdict is None else {**_VERDICT.dump_python(verdict, mode="json"), "text": verdict.text}


def _verdict_from(document: dict[str, Any] | None) -> Verdict | None:
    if document is None:
        return None
    return _VERDICT.validate_python({key: value for key, value in document.items() if key != "text"})


def spec_document(spec: RolloutSpec) -> dict[str, Any]:
    """Return a specification as JSON-able values."""
    document: dict[str, Any] = _SPEC.dump_python(spec, mode="json")
    return document


def _rollout_document(rollout: Rollout) -> dict[str, Any]:
    return {
        "spec": spec_document(rollout.spec),
        "stable": rollout.stable,
        "created_at": rollout.created_at,
        "phase_entered_at": rollout.phase_entered_at,
        "step_entered_at": rollout.step_entered_at,
        "evidence_since": rollout.evidence_since,
        "number": rollout.number,
        "phase": rollout.phase.value,
        "step": rollout.step,
        "evidence": {
            "stable": tally_document(rollout.evidence.stable),
            "candidate": tally_document(rollout.evidence.candidate),
            "cursors": {name: _sighting_document(seen) for name, seen in rollout.evidence.cursors.items()},
            "comparison": comparison_document(rollout.evidence.comparison),
            "floor": comparison_document(rollout.evidence.floor),
            "measurements": _MEASUREMENTS.dump_python(dict(rollout.evidence.measurements), mode="json"),
            "memory": memory_document(rollout.evidence.memory),
            "route_generation": rollout.evidence.route_generation,
            "arms": _arms_document(rollout.evidence.arms),
            "outcomes": _OUTCOMES.dump_python(dict(rollout.evidence.outcomes), mode="json"),
            "stable_non_finite_before": rollout.evidence.stable_non_finite_before,
            "arms_memory": arms_memory_document(rollout.evidence.arms_memory),
        },
        "verdict": verdict_document(rollout.verdict),
        "reason": rollout.reason,
        "generation": rollout.generation,
    }


def _rollout_from(document: dict[str, Any]) -> Rollout:
    evidence = document["evidence"]
    return Rollout(
        **{
            **document,
            # absent in a database from before it was kept
            "evidence_since": document.get("evidence_since", document["step_entered_at"]),
            "spec": _SPEC.validate_python(with_memory(with_later_tests(document["spec"], "analysis"))),
            "phase": Phase(document["phase"]),
            "evidence": Evidence(
                tally_from(evidence["stable"]),
                tally_from(evidence["candidate"]),
                {name: _sighting_from(seen) for name, seen in evidence["cursors"].items()},
                comparison_from(evidence["comparison"]),
                comparison_from(evidence["floor"]),
                evidence["route_generation"],
                _MEASUREMENTS.validate_python(evidence["measurements"]),
                memory_from(evidence.get("memory")),
                _arms_from(evidence),
                _OUTCOMES.validate_python(evidence.get("outcomes", {})),
                evidence.get("stable_non_finite_before", 0),
                arms_memory_from(evidence),
            ),
            "verdict": _verdict_from(document["verdict"]),
        }
    )


def judged_document(judged: Judged | None) -> dict[str, Any] | None:
    """Return a verdict with everything that it was made of as JSON-able values."""
    if judged is None:
        return None
    return {
        "terms": _TERMS.dump_python(judged.terms, mode="json"),
        "terms_sha256": judged.terms.digest,
        "route_generation": judged.route_generation,
        "stable": tally_document(judged.seen.stable),
        "candidate": tally_document(judged.seen.candidate),
        "comparison": comparison_document(judged.seen.comparison),
        "floor": comparison_document(judged.seen.floor),
        "measurements": _MEASUREMENTS.dump_python(dict(judged.seen.measurements), mode="json"),
        "memory": memory_document(judged.seen.memory),
        "arms": _arms_document(judged.seen.arms),
        "outcomes": _OUTCOMES.dump_python(dict(judged.seen.outcomes), mode="json"),
        "stable_non_finite_before": judged.seen.stable_non_finite_before,
        "arms_memory": arms_memory_document(judged.seen.arms_memory),
        "verdict": verdict_document(judged.verdict),
    }


def judged_from(document: dict[str, Any] | None) -> Judged | None:
    """Return what ``judged_document`` wrote."""
    if document is None:
        return None
    terms = _TERMS.validate_python(with_memory(with_later_tests(document["terms"], "config")))
    if document["terms_sha256"] != terms.digest:
        raise ValueError("terms_sha256 is not that of the terms")
    verdict = _verdict_from(document["verdict"])
    if verdict is None:
        raise ValueError("a record without a verdict")
    seen = Seen(
        tally_from(document["stable"]),
        tally_from(document["candidate"]),
        comparison_from(document["comparison"]),
        comparison_from(document["floor"]),
        _MEASUREMENTS.validate_python(document["measurements"]),
        memory_from(document.get("memory")),
        _arms_from(document),
        _OUTCOMES.validate_python(document.get("outcomes", {})),
        document.get("stable_non_finite_before", 0),
        arms_memory_from(document),
    )
    return Judged(terms, seen, verdict, document["route_generation"])


def entry_document(entry: HistoryEntry) -> dict[str, Any]:
    """Return a line of history as JSON-able values."""
    return {
        "at": entry.at,
        "source": entry.source and entry.source.value,
        "target": entry.target.value,
        "source_weight_percent": entry.source_weight_percent,
        "target_weight_percent": entry.target_weight_percent,
        "event": entry.event,
        "actor": entry.actor,
        "reason": entry.reason,
        "judged": judged_document(entry.judged),
    }


def _entry_from(document: dict[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        **{
            **document,
            "source": document["source"] and Phase(document["source"]),
            "target": Phase(document["target"]),
            "judged": judged_from(document["judged"]),
        }
    )


def encode_rollout(rollout: Rollout) -> str:
    """Return a rollout as a JSON text."""
    return orjson.dumps(_rollout_document(rollout)).decode()


def encode_entry(entry: HistoryEntry) -> str:
    """Return a line of history as a JSON text."""
    return orjson.dumps(entry_document(entry)).decode()


def encode_route(route: Route) -> str:
    """Return a route as a JSON text."""
    return orjson.dumps(route_document(route)).decode()


def route_document(route: Route) -> dict[str, Any]:
    """Return a route as JSON-able values."""
    return {
        "model": route.model,
        "stable": route.stable,
        "candidate": route.candidate,
        "weight_percent": route.weight_percent,
        "versions": sorted(route.versions),
        "mirror": route.mirror and asdict(route.mirror),
        "arms": [asdict(arm) for arm in route.arms],
        "experiment": route.experiment,
    }


def decode_rollout(text: str) -> Rollout:
    """Return the rollout in a JSON text.

    Raises:
        ConfigurationError: The text is not a rollout that this version of Penstock wrote.
    """
    try:
        return _rollout_from(orjson.loads(text))
    except (KeyError, TypeError, ValueError, PenstockError) as error:
        raise _unreadable("rollout", error) from error


def decode_entry(text: str) -> HistoryEntry:
    """Return the line of history in a JSON text.

    Raises:
        ConfigurationError: The text is not a line that this version of Penstock wrote.
    """
    try:
        return _entry_from(orjson.loads(text))
    except (KeyError, TypeError, ValueError, PenstockError) as error:
        raise _unreadable("line of history", error) from error


def decode_route(text: str) -> Route:
    """Return the route in a JSON text.

    Raises:
        ConfigurationError: The text is not a route that this version of Penstock wrote.
    """
    try:
        document = orjson.loads(text)
        mirror = document.get("mirror")  # absent in a database from before there were mirrors: there is none
        arms = tuple(Arm(**arm) for arm in document.get("arms", ()))  # neither were there A/B tests
        versions = frozenset(document["versions"])
        return Route(**{**document, "versions": versions, "mirror": mirror and Mirror(**mirror), "arms": arms})
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("route", error) from error


def _unreadable(what: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"a stored {what} cannot be read ({type(error).__name__}: {error}); was the database written by another "
        "version of penstock? Move the state directory away to begin anew"
    )
