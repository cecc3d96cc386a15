"""The course of a step as two lines in a small picture. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.controller.dashboard import words
from services.controller.events.trend import Point, Sample

WIDTH, HEIGHT = 300, 60
_MARGIN = 3
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Sparkline:
    """One measure over time.

    Attributes:
        title: What is shown.
        stable: Polylines of stable, in a view box of 300 by 60; a gap in the data begins a new one.
        candidate: The same of the candidate.
        top: The value of the upper edge in words.
        span: How long the course is.
        summary: What the picture says, for those who do not see it.
    """

    title: str
    stable: tuple[str, ...]
    candidate: tuple[str, ...]
    top: str
    span: str
    summary: str


def sparklines(points: Sequence[Point]) -> tuple[Sparkline, ...]:
    """Return bad answers and p99 over time; nothing before there are two points."""
    if len(points) < _FEWEST:
        return ()
    return (
        _line("Share of bad answers", points, lambda sample: sample.bad_share, words.percent, least=0.01),
        _line("p99 latency", points, lambda sample: sample.p99_s, words.milliseconds, least=0.001),
    )


def _line(
    title: str,
    points: Sequence[Point],
    of: Callable[[Sample], float | None],
    say: Callable[[float | None], str],
    least: float,
) -> Sparkline:
    stable = [(point.at, of(point.stable)) for point in points]
    candidate = [(point.at, of(point.candidate)) for point in points]
    top = max([least, *(value for _, value in (*stable, *candidate) if value is not None)])
    start, seconds = points[0].at, max(1e-9, points[-1].at - points[0].at)

    def drawn(values: Sequence[tuple[float, float | None]]) -> tuple[str, ...]:
        runs: list[list[str]] = [[]]
        for at, value in values:
            if value is None:
                runs.append([])
                continue
            x = (at - start) / seconds * WIDTH
            y = _MARGIN + (1 - value / top) * (HEIGHT - 2 * _MARGIN)
            runs[-1].append(f"{x:.1f},{y:.1f}")
        return tuple(" ".join(run) for run in runs if len(run) >= _FEWEST)

    summary = f"{title}: {_told('stable', stable, say)}; {_told('candidate', candidate, say)}"
    return Sparkline(title, drawn(stable), drawn(candidate), say(top), words.duration(seconds), summary)


def _told(name: str, values: Sequence[tuple[float, float | None]], say: Callable[[float | None], str]) -> str:
    known = [value for _, value in values if value is not None]
    if not known:
        return f"{name} has no values"
    return f"{name} is at {say(known[-1])} now, was between {say(min(known))} and {say(max(known))}"
