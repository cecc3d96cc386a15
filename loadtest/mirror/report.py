"""The table of a mirror run, and whether the mirror cost live answers too much."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.mirror.experiment import (
    MOST_OTHERS,
    Copies,
    Plan,
    Round,
    interval,
    pooled,
    ratio,
    typical_s,
    undisturbed,
)
from loadtest.overload.arithmetic import quantile

MOST_RISE = 0.05
"""From here on a rise of the p99 is too much, as a part of it."""
_QUANTILES = (0.5, 0.9, 0.99)


def is_met(plan: Plan, rounds: Sequence[Round]) -> bool | None:
    """Whether the p99 of live answers rises by less than ``MOST_RISE``, and none fails; None where nobody can tell.

    That is where less than half of the planned rounds were left alone by other processes.
    """
    quiet = undisturbed(rounds)
    if len(quiet) < plan.pairs:
        return None
    return ratio(quiet, 0.99) < 1 + MOST_RISE and not any(one.failed for one in rounds)


def markdown(plan: Plan, rounds: Sequence[Round], copies: Sequence[Copies]) -> str:
    """Return latencies without and with a mirror, and what the copies showed."""
    quiet = undisturbed(rounds)
    lines = [
        f"{plan.rate:g} requests/s, {len(rounds) // 2} rounds of {plan.seconds:g} s of each kind in turns;",
        f"{len(quiet) // 2} pairs of rounds count: others took at most {MOST_OTHERS:.0%} of the machine's CPU.",
        f"{plan.workers} workers, {plan.percent} % mirrored, {plan.floor_percent} % of the copies for the noise floor.",
        "Latency counts from when a request was due: the median of the rounds' quantiles, its ratio and the ratio's",
        "95 % bootstrap interval over pairs of rounds; then the quantiles of all rounds together, pauses of the",
        "machine included.",
        "",
    ]
    if quiet:
        lines += _latencies(quiet)
    failed = sum(one.failed for one in rounds)
    lines += [
        "",
        f"{sum(len(one.latency_s) for one in rounds)} answers in all rounds, {failed} failed.",
        "",
        "| answered by | copy to | pairs | differing | share | failed | dropped |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in copies:
        share = f"{one.differing / one.pairs:.2%}" if one.pairs else "-"
        lines.append(
            f"| {one.answered} | {one.mirrored} | {one.pairs} | {one.differing} | {share} | {one.failed} | "
            f"{one.dropped} |"
        )
    verdict = {True: "met", False: "MISSED", None: "void: the machine was busy with something else"}
    lines += ["", f"p99 with a mirror below {1 + MOST_RISE:g} times that without: **{verdict[is_met(plan, rounds)]}**"]
    return "\n".join(lines) + "\n"


def _latencies(rounds: Sequence[Round]) -> list[str]:
    off, on = pooled(rounds, mirrored=False), pooled(rounds, mirrored=True)
    lines = [
        "| live answers | no mirror, ms | mirror, ms | ratio | 95 % | all, no mirror | all, mirror |",
        "|---|---|---|---|---|---|---|",
    ]
    for q in _QUANTILES:
        low, high = interval(rounds, q)
        lines.append(
            f"| p{q * 100:g} | {typical_s(rounds, q, mirrored=False) * 1e3:.2f} | "
            f"{typical_s(rounds, q, mirrored=True) * 1e3:.2f} | {ratio(rounds, q):.3f} | {low:.3f} to {high:.3f} | "
            f"{quantile(off, q) * 1e3:.2f} | {quantile(on, q) * 1e3:.2f} |"
        )
    return lines
