"""What REST shows: rollouts, history and models as JSON-able values. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from services.controller.storage.comparison_document import comparison_view
from services.controller.storage.documents import entry_document, route_document, spec_document, verdict_document
from services.controller.storage.values_document import values_view
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.rollouts.feedback import Feedback, Taken
from services.core.rollouts.forecast import Forecast
from services.core.rollouts.history import HistoryEntry
from services.core.rollouts.rollout import Rollout
from services.core.rollouts.thin_traffic import TrafficPlan
from services.core.rollouts.transitions import verbs_in
from services.core.route import Route


def rollout_view(rollout: Rollout) -> dict[str, Any]:
    """Return a rollout: where it stands, why, and on what evidence."""
    return {
        "id": rollout.id,
        "model": rollout.model,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "phase": rollout.phase.value,
        "active": not rollout.phase.terminal,
        "step": rollout.step + 1,
        "steps": len(rollout.spec.steps),
        "weight_percent": rollout.weight_percent,
        "reason": rollout.reason,
        "created_at": rollout.created_at,
        "phase_entered_at": rollout.phase_entered_at,
        "step_entered_at": rollout.step_entered_at,
        "verbs": [verb.value for verb in verbs_in(rollout.phase)],
        "evidence": {
            "stable": tally_view(rollout.evidence.stable),
            "candidate": tally_view(rollout.evidence.candidate),
            "workers": len(rollout.evidence.cursors),
            "comparison": comparison_view(rollout.evidence.comparison),
            "floor": comparison_view(rollout.evidence.floor),
            "arms": {str(version): tally_view(tally) for version, tally in rollout.evidence.arms.items()},
            "outcomes": outcomes_view(rollout),
        },
        "verdict": verdict_document(rollout.verdict),
        "generation": rollout.generation,
        "spec": spec_document(rollout.spec),
    }


def outcomes_view(rollout: Rollout) -> dict[str, Any]:
    """Return how many outcomes came back for each version, and their mean on the outcome's own scale."""
    experiment = rollout.spec.experiment
    if experiment is None:
        return {}
    return {
        str(version): {
            "outcomes": totals.count,
            "mean": None if totals.mean is None else experiment.outcome.raw(totals.mean),
        }
        for version, totals in sorted(rollout.evidence.outcomes.items())
    }


def feedback_view(one: Feedback, taken: Taken) -> dict[str, Any]:
    """Return what was done with an outcome."""
    return {"id": one.request_id, "outcome": one.outcome, "result": taken.value}


def tally_view(tally: Tally) -> dict[str, Any]:
    """Return a tally with its quantiles, seconds."""
    return {
        "requests": tally.requests,
        "failed": tally.failed,
        "non_finite": tally.non_finite,
        "unanswered": tally.unanswered,
        **_quantiles(tally.latency),
        "predictions": {output: list(counts) for output, counts in tally.predictions.items()},
        "values": values_view(tally.values),
    }


def _quantiles(latency: LatencyHistogram) -> dict[str, float | None]:
    return {f"p{q}_s": latency.quantile(q / 100) for q in (50, 95, 99)}


def history_view(entry: HistoryEntry) -> dict[str, Any]:
    """Return one line of history; ``judged`` holds the verdict and all that it was made of."""
    return {**entry_document(entry), "verdict": verdict_document(entry.judged.verdict) if entry.judged else None}


def forecast_view(coming: Forecast | None) -> dict[str, Any] | None:
    """Return when there will be a verdict, as JSON-able values; None where there will be none."""
    if coming is None:
        return None
    return {
        "outcome": coming.outcome.value,
        "requests": coming.requests,
        "seconds": round(coming.seconds, 1),
        "text": coming.text,
    }


def plan_view(model: str, found: TrafficPlan) -> dict[str, Any]:
    """Return how long each step will take, and what to do where the traffic is too thin for it."""
    return {
        "model": model,
        "requests_per_s": round(found.per_s, 2),
        "steps": [{**asdict(step), "text": step.text} for step in found.steps],
        "seconds": None if found.seconds is None else round(found.seconds, 1),
        "enough": found.enough,
        "proposals": [asdict(one) for one in found.proposals],
    }


def model_view(
    model: str,
    *,
    published: tuple[int, ...],
    loaded: frozenset[int] | None,
    route: Route | None,
    rollout: Rollout | None,
    problem: str | None,
) -> dict[str, Any]:
    """Return a model: what is published, loaded and routed, and what is wrong; ``loaded`` is None without a Triton."""
    return {
        "model": model,
        "published": list(published),
        "loaded": None if loaded is None else sorted(loaded),
        "stable": route.stable if route else None,
        "candidate": route.candidate if route else None,
        "weight_percent": route.weight_percent if route else 0,
        "route": route_document(route) if route else None,
        "rollout": rollout.id if rollout else None,
        "problem": problem,
    }
