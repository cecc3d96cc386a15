"""The table of a mirror run, and whether the mirror cost live answers too much."""

from __future__ import annotations

from collections.abc import Sequence

from loadtest.mirror.experiment import Copies, Plan, Round, interval, pooled, ratio, typical_s
from loadtest.overload.arithmetic import quantile

MOST_RISE = 0.05
"""From here on a rise of the p99 is too much, as a part of it."""
_QUANTILES = (0.5, 0.9, 0.99)


def is_met(rounds: Sequence[Round]) -> bool:
    """Whether the p99 of live answers rises by less than ``MOST_RISE``, and none fails."""
    return ratio(rounds, 0.99) < 1 + MOST_RISE and not any(one.failed for one in rounds)


def markdown(plan: Plan, rounds: Sequence[Round], copies: Sequence[Copies]) -> str:
    """Return latencies without and with a mirror, and what the copies showed."""
    off, on = pooled(rounds, mirrored=False), pooled(rounds, mirrored=True)
    lines = [
        f"{plan.rate:g} requests/s, {plan.pairs} rounds of {plan.seconds:g} s of each kind in turns.",
        f"{plan.workers} workers, {plan.percent} % mirrored, {plan.floor_percent} % of the copies for the noise floor.",
        "Latency counts from when a request was due: the median of the rounds' quantiles, its ratio and the ratio's",
        "95 % bootstrap interval over pairs of rounds; then the quantiles of all rounds together, pauses of the",
        "machine included.",
        "",
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
    failed = sum(one.failed for one in rounds)
    lines += [
        "",
        f"{len(off)} and {len(on)} answers, {failed} failed.",
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
    verdict = "met" if is_met(rounds) else "MISSED"
    lines += ["", f"p99 with a mirror below {1 + MOST_RISE:g} times that without: **{verdict}**"]
    return "\n".join(lines) + "\n"
