"""The gate: what was measured against what the recipe demands. Pure decisions; every reason names its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginebuild.recipe.gate import BatchRule, GateRules, MetricRule
from services.core.records.batch_record import BatchEntry
from services.core.records.manifest import FidelityEntry, MetricEntry

# Shares are quotients of counts: 100 * (9 - 8) / 200 may be a hair over 0.5.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one variant.

    Attributes:
        variant: Its name.
        is_baseline: Whether it is FP32 itself, which no speed-up is demanded of.
        metrics: Its metrics on the held-out data.
        fidelity: Closeness to the PyTorch network.
        speedup: FP32's time over this one's; None where it was not measured.
        batching: How far answers depend on their batch; None where it was not measured.
    """

    variant: str
    is_baseline: bool
    metrics: Sequence[MetricEntry]
    fidelity: FidelityEntry
    speedup: float | None
    batching: BatchEntry | None


def objections(evidence: Evidence, rules: GateRules) -> tuple[str, ...]:
    """Return why a variant may not be published; empty when it may."""
    batching = _batching(evidence.batching, rules.batching) if rules.batching is not None else ()
    return (*accuracy_objections(evidence, rules), *batching, *_speed(evidence, rules))


def accuracy_objections(evidence: Evidence, rules: GateRules) -> tuple[str, ...]:
    """Return why a variant is not good enough, whatever its speed; empty when it is."""
    found: list[str] = []
    if evidence.fidelity.non_finite:
        found.append(f"{evidence.fidelity.non_finite} held-out samples give a NaN or an infinity")
    metrics = {entry.name: entry for entry in evidence.metrics}
    for name, rule in rules.metrics.items():
        entry = metrics.get(name)
        if entry is None or entry.samples < 1:
            found.append(f"{name} was not measured")
            continue
        found += _limits(entry, rule)
        found += _losses(entry, rule, evidence.variant, rules.confidence)
    return tuple(found)


def _limits(entry: MetricEntry, rule: MetricRule) -> list[str]:
    found = []
    if rule.min is not None and entry.value < rule.min - _ROUNDING:
        found.append(f"{entry.name} {entry.text} on {entry.samples} samples, at least {entry.show(rule.min)} demanded")
    if rule.max is not None and entry.value > rule.max + _ROUNDING:
        found.append(f"{entry.name} {entry.text} on {entry.samples} samples, at most {entry.show(rule.max)} demanded")
    return found


def _losses(entry: MetricEntry, rule: MetricRule, variant: str, confidence: float | None) -> list[str]:
    bounds = []
    absolute, percent = rule.loss_bound(variant), rule.percent_bound(variant)
    if absolute is not None:
        bounds.append(absolute)
    if percent is not None:
        bounds.append(abs(entry.baseline) * percent / 100)
    if not bounds:
        return []
    bound = min(bounds)
    against = f"{entry.name} {entry.text} against {entry.show(entry.baseline)} in FP32 PyTorch"
    if entry.loss > bound + _ROUNDING:
        return [f"{against}: {entry.show_loss(entry.loss)} worse, {entry.show_loss(bound)} allowed"]
    if confidence is None or entry.loss_high <= bound + _ROUNDING:
        return []
    unsure = f"at {confidence:.0%} confidence it may be {entry.show_loss(entry.loss_high)} worse"
    return [f"{against}: {unsure}, {entry.show_loss(bound)} allowed ({entry.samples} samples; more of them would tell)"]


def _batching(entry: BatchEntry | None, rule: BatchRule) -> list[str]:
    if entry is None or not entry.rows or not entry.max_abs_diff:
        return ["how far answers depend on their batch was not measured"]
    found, what = [], f"on {entry.rows} rows in batches of {entry.batch_size}"
    output, most = max(entry.max_abs_diff.items(), key=lambda item: item[1])
    if rule.max_difference is not None and most > rule.max_difference:
        found.append(
            f"'{output}' of a row changes by {most:.3g} with the rows in its batch, "
            f"{rule.max_difference:g} allowed ({what})"
        )
    if rule.max_changed is not None and (entry.changed is None or entry.changed > rule.max_changed + _ROUNDING):
        shown = "an unknown share" if entry.changed is None else f"{entry.changed:.2%}"
        found.append(
            f"the class of {shown} changes with the rows in its batch, {rule.max_changed:.2%} allowed ({what})"
        )
    return found


def _speed(evidence: Evidence, rules: GateRules) -> list[str]:
    demanded = rules.min_speedup.get(evidence.variant, None if evidence.is_baseline else 1.0)
    if demanded is None:
        return []
    if evidence.speedup is None:
        return [f"its speed was not measured, {demanded:g} times FP32 demanded"]
    if evidence.speedup < demanded:
        return [f"{evidence.speedup:.2f} times as fast as FP32, {demanded:g} demanded"]
    return []


def choose(verdicts: Mapping[str, tuple[str, ...]], *, waived: bool) -> str | None:
    """Return the variant to publish: the first without objection, else under a waiver the first, else None.

    Args:
        verdicts: Objections by variant, in order of preference.
        waived: Whether someone takes the responsibility for objections.
    """
    for variant, against in verdicts.items():
        if not against:
            return variant
    return next(iter(verdicts), None) if waived else None
