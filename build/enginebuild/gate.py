"""The gate: what was measured against what the recipe demands. Pure decisions; every reason names its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from enginebuild.recipe import Precision, Thresholds
from services.core.manifest import AccuracyEntry, FidelityEntry

_ROUNDING = 1e-9  # shares are quotients of counts: 100 * (9 - 8) / 200 may be a hair over 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one precision.

    Attributes:
        precision: The precision.
        accuracy: Accuracy on the held-out data.
        fidelity: Closeness to the PyTorch network.
        speedup: FP32's time over this one's; None where it was not measured.
    """

    precision: Precision
    accuracy: AccuracyEntry
    fidelity: FidelityEntry
    speedup: float | None


def objections(evidence: Evidence, thresholds: Thresholds) -> tuple[str, ...]:
    """Return why a precision may not be published; empty when it may."""
    accuracy, precision = evidence.accuracy, evidence.precision
    found: list[str] = []
    if accuracy.samples < 1:
        found.append("no held-out sample was judged")
    if evidence.fidelity.non_finite:
        found.append(f"{evidence.fidelity.non_finite} of {accuracy.samples} held-out samples give a NaN or an infinity")
    if accuracy.value < thresholds.min_accuracy - _ROUNDING:
        found.append(
            f"accuracy {accuracy.value:.2%} ({accuracy.correct} of {accuracy.samples}) is below the "
            f"{thresholds.min_accuracy:.2%} demanded"
        )
    bound = thresholds.max_accuracy_loss_points[precision]
    if accuracy.loss_points > bound + _ROUNDING:
        found.append(
            f"{accuracy.loss_points:.2f} points less accurate than FP32 PyTorch ({accuracy.baseline:.2%}), "
            f"{bound:g} allowed"
        )
    demanded = thresholds.min_speedup.get(precision)
    if demanded is not None:
        if evidence.speedup is None:
            found.append(f"its speed was not measured, {demanded:g} times FP32 demanded")
        elif evidence.speedup < demanded:
            found.append(f"{evidence.speedup:.2f} times as fast as FP32, {demanded:g} demanded")
    return tuple(found)


def choose(verdicts: Sequence[tuple[Precision, tuple[str, ...]]], *, waived: bool) -> Precision | None:
    """Return the precision to publish: the first without objection, else under a waiver the first, else None.

    Args:
        verdicts: Precisions in order of preference, each with its objections.
        waived: Whether someone takes the responsibility for objections.
    """
    for precision, against in verdicts:
        if not against:
            return precision
    return verdicts[0][0] if waived and verdicts else None
