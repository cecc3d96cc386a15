"""A metric of somebody else's, asked for again and again during a step: PromQL, with a condition. Pure.

No data, several series, a NaN and a query that matches nothing are errors, and an error is never a pass.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from services.core.analysis.verdict import Check, Outcome
from services.core.errors import InvalidRequest

_NAME = re.compile(r"[a-z][a-z0-9_\-]{0,62}")
_PLACE = re.compile(r"\{\{\s*([a-z]+)\s*\}\}")
_PLACES = frozenset({"model", "stable", "candidate"})
_MOST_QUERY = 4096
_MOST = 1000
MAX_METRICS = 16
METRIC_PREFIX = "metric:"


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """What is asked, and what is good.

    Attributes:
        name: Names the check.
        query: PromQL that gives one number; ``{{model}}``, ``{{stable}}`` and ``{{candidate}}`` are put in.
        at_most: The largest good value; None for no upper bound.
        at_least: The smallest good value; None for no lower bound.
        interval_s: Time between two measurements, seconds.
        count: Good measurements that a step needs before it may pass.
        failure_limit: So many bad measurements are tolerated in a step; one more is harm.
        consecutive_error_limit: So many measurements without a value are tolerated in a row; one more ends the rollout.
    """

    name: str
    query: str
    at_most: float | None = None
    at_least: float | None = None
    interval_s: float = 15.0
    count: int = 3
    failure_limit: int = 0
    consecutive_error_limit: int = 4

    def __post_init__(self) -> None:
        unknown = sorted(set(_PLACE.findall(self.query)) - _PLACES)
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        rules = {
            "expected a name of lower-case letters, digits, '-' and '_'": _NAME.fullmatch(self.name),
            f"expected a query of 1 to {_MOST_QUERY:,} characters": 0 < len(self.query.strip()) <= _MOST_QUERY,
            f"the query has a place for {', '.join(unknown)}; there are model, stable and candidate": not unknown,
            "expected at_most, at_least or both, as finite numbers: without one everything would be good": (
                bounds and all(map(math.isfinite, bounds))
            ),
            "at_least is over at_most: nothing would be good": bounds == sorted(bounds),
            "expected an interval_s from 1 to 3600": 1.0 <= self.interval_s <= 3600.0,  # noqa: PLR2004 - an hour
            f"expected a count from 1 to {_MOST}": 1 <= self.count <= _MOST,
            f"expected a failure_limit from 0 to {_MOST}": 0 <= self.failure_limit <= _MOST,
            f"expected a consecutive_error_limit from 0 to {_MOST}": 0 <= self.consecutive_error_limit <= _MOST,
        }
        problem = next((words for words, holds in rules.items() if not holds), None)
        if problem is not None:
            raise InvalidRequest(f"metric '{self.name}': {problem}")

    def query_for(self, model: str, stable: int, candidate: int) -> str:
        """Return the query of one rollout; the model's name is escaped as PromQL's strings are."""
        values = {
            "model": model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"),
            "stable": str(stable),
            "candidate": str(candidate),
        }
        return _PLACE.sub(lambda match: values[match[1]], self.query)

    def is_good(self, value: float) -> bool:
        """Return whether a measured value is within the bounds."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    @property
    def least_s(self) -> float:
        """The shortest time in which a step can have its good measurements, seconds: the first is made at once."""
        return (self.count - 1) * self.interval_s

    @property
    def condition(self) -> str:
        """The bounds for a person."""
        words = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        words += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return " and ".join(words)


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement: when, seconds since the epoch; its value, or why there is none."""

    at: float
    value: float | None
    problem: str = ""

    def after(self, last_at: float) -> Reading:
        """Return the same as made after another one, also where the clock was set back between the two."""
        return self if self.at > last_at else replace(self, at=math.nextafter(last_at, math.inf))


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a metric showed during one step.

    Attributes:
        good: Values within the bounds.
        bad: Values beyond them.
        errors: Measurements without a value.
        errors_in_a_row: Of these, the last ones that followed each other.
        last: The last value; None before the first.
        last_at: When the last measurement was made, seconds since the epoch; 0 before the first. Of two measurements
            the later one has the later time, whatever the clock says.
        problem: Why the last measurement had no value; empty where it had one.
    """

    good: int = 0
    bad: int = 0
    errors: int = 0
    errors_in_a_row: int = 0
    last: float | None = None
    last_at: float = 0.0
    problem: str = ""

    def with_reading(self, metric: CustomMetric, reading: Reading) -> Measurements:
        """Return what there is after one more measurement; a value that is no number is none."""
        value, problem = reading.value, reading.problem
        if value is not None and not math.isfinite(value):
            value, problem = None, f"the value is {value}"
        if value is None:
            row = self.errors_in_a_row + 1
            return replace(self, errors=self.errors + 1, errors_in_a_row=row, last_at=reading.at, problem=problem)
        good = metric.is_good(value)
        return replace(
            self,
            good=self.good + good,
            bad=self.bad + (not good),
            errors_in_a_row=0,
            last=value,
            last_at=reading.at,
            problem="",
        )


def check_metric(metric: CustomMetric, seen: Measurements) -> Check:
    """Return what a metric says of a step: silence and errors never pass."""
    numbers: dict[str, float | int | None] = {
        "good": seen.good,
        "bad": seen.bad,
        "errors": seen.errors,
        "errors_in_a_row": seen.errors_in_a_row,
        "last": seen.last,
        "at_most": metric.at_most,
        "at_least": metric.at_least,
        "count": metric.count,
        "failure_limit": metric.failure_limit,
        "consecutive_error_limit": metric.consecutive_error_limit,
    }
    last = "no value yet" if seen.last is None else f"last {seen.last:g}"
    text = f"{metric.name}: {seen.good} good and {seen.bad} bad measurements ({last}), {metric.condition} is good"
    if seen.problem:
        text += f"; the last {seen.errors_in_a_row} without a value: {seen.problem}"
    if seen.bad > metric.failure_limit:
        return Check(METRIC_PREFIX + metric.name, Outcome.FAIL, numbers, text)
    if seen.errors_in_a_row > metric.consecutive_error_limit:
        return Check(METRIC_PREFIX + metric.name, Outcome.ERROR, numbers, text)
    enough = seen.good >= metric.count and not seen.problem
    return Check(METRIC_PREFIX + metric.name, Outcome.PASS if enough else Outcome.INCONCLUSIVE, numbers, text)
