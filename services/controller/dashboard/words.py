"""Numbers, times and states as a person reads them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

NOTHING = "\N{EN DASH}"
ARROW = "\N{RIGHTWARDS ARROW}"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_UNIT = "\N{NO-BREAK SPACE}"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_TEN, _HUNDRED, _THOUSAND = 10, 100, 1000

_PASSED = re.compile(r"(step \d+ of \d+ \(\d+ %\) (?:passed|is decided, (?:version \d+|no arm) wins)): ")
# What each phase means, for somebody who does not know the state machine.
PHASES = {
    "preparing": "The candidate is being loaded",
    "warming": "The candidate gets warm-up samples, and must answer as when it was built",
    "progressing": "The candidate has its share while evidence is collected",
    "paused": "The weight is held until a person decides; harm still rolls back",
    "promoting": "The candidate has all traffic; gateways let go of the old version",
    "rolling_back": "Stable has all traffic; gateways let go of the candidate",
    "aborting": "Stable has all traffic: the rollout was aborted",
    "concluding": "The comparison is over; gateways let go of what was compared with stable",
    "promoted": "The candidate is the stable version now",
    "rolled_back": "Stable kept the traffic",
    "aborted": "Stable kept the traffic: the rollout was aborted",
    "concluded": "The comparison ended without harm; stable kept the traffic",
    "failed": "The candidate did not get ready and never got traffic",
}
# The same of an A/B test, which has several candidates, and may end with another one than the first.
EXPERIMENT_PHASES = {
    "preparing": "The arms are being loaded",
    "warming": "The arms get warm-up samples, and must answer as when they were built",
    "progressing": "Each arm has its share while outcomes come back",
    "paused": "The shares are held until a person decides; harm still ends the test",
    "promoting": "The chosen arm has all traffic; gateways let go of the other versions",
    "rolling_back": "Stable has all traffic; gateways let go of the arms",
    "aborting": "Stable has all traffic: the test was aborted",
    "concluding": "The test is over; gateways let go of the arms",
    "promoted": "The chosen arm is the stable version now",
    "rolled_back": "Stable kept the traffic",
    "aborted": "Stable kept the traffic: the test was aborted",
    "concluded": "The test ended without harm; stable kept the traffic",
    "failed": "An arm did not get ready, and none got traffic",
}
_MARKS = {
    "pass": "\N{CHECK MARK}",
    "fail": "\N{MULTIPLICATION X}",
    "inconclusive": "\N{HORIZONTAL ELLIPSIS}",
    "error": "!",
}


def count(number: float) -> str:
    """Return a count with its thousands apart."""
    return f"{number:,.0f}".replace(",", _THIN)


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, in percent, with as many digits as tell small ones from none."""
    if share is None:
        return NOTHING
    value = 100 * share
    digits = 3 if 0 < value < 0.1 else 2 if value < _TEN else 1  # noqa: PLR2004 - one per mille
    return f"{value:.{digits}f}{_UNIT}%"


def weight(weight_percent: int) -> str:
    """Return a weight, which is a whole percent."""
    return f"{weight_percent}{_UNIT}%"


def milliseconds(seconds: float | None) -> str:
    """Return a duration in milliseconds, to three digits or so."""
    if seconds is None:
        return NOTHING
    value = 1000 * seconds
    digits = 2 if value < _TEN else 1 if value < _HUNDRED else 0
    return f"{value:,.{digits}f}{_UNIT}ms".replace(",", _THIN)


def rate(per_s: float | None) -> str:
    """Return requests per second."""
    if per_s is None:
        return NOTHING
    return f"{per_s:,.{1 if per_s < _HUNDRED else 0}f}{_UNIT}req/s".replace(",", _THIN)


def duration(seconds: float) -> str:
    """Return a duration as a person says it."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole}{_UNIT}s" if seconds >= 1 or not seconds else f"{seconds:.1f}{_UNIT}s"
    if whole < _HOUR_S:
        minutes, rest = divmod(whole, _MINUTE_S)
        return f"{minutes}{_UNIT}min" + (f" {rest}{_UNIT}s" if rest else "")
    if whole < _DAY_S:
        hours, rest = divmod(whole, _HOUR_S)
        return f"{hours}{_UNIT}h" + (f" {rest // _MINUTE_S}{_UNIT}min" if rest >= _MINUTE_S else "")
    days, rest = divmod(whole, _DAY_S)
    return f"{days}{_UNIT}d" + (f" {rest // _HOUR_S}{_UNIT}h" if rest >= _HOUR_S else "")


def number(value: object) -> str:
    """Return any number of a check: counts whole, others to four digits; None is what the data did not allow."""
    if value is None:
        return "not bounded yet"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer() and abs(value) < 10**15:
        return count(value)
    return f"{value:.4g}"


def labelled(name: str, value: object) -> tuple[str, str]:
    """Return the label and the text of a named number; what its name says of its unit is used."""
    words = name.removesuffix("_s").replace("_", " ")
    if name.endswith("_s") and isinstance(value, int | float) and not isinstance(value, bool):
        return words, milliseconds(value)
    if _is_share(name) and isinstance(value, int | float) and 0 <= value <= 1:
        return words, percent(value)
    return words, number(value)


def _is_share(name: str) -> bool:
    return bool(re.search(r"(share|_lower|_upper|_error|increase|agreement)$", name)) and "p99" not in name


def serving(workers: Mapping[str, Any]) -> str:
    """Return what ``Overview.serving`` says."""
    known, acknowledged = workers["workers"], workers["acknowledged"]
    if not known:
        return "No gateway worker reports"
    if acknowledged < known:
        return f"{acknowledged} of {known} gateway workers serve with the present route"
    return (
        f"{f'All {known} gateway workers serve' if known > 1 else 'The gateway worker serves'} with the present route"
    )


def state(phase: str) -> str:
    """Return a phase as a label."""
    return phase.replace("_", " ").capitalize()


def versions(numbers: Sequence[int]) -> str:
    """Return versions as they stand in a sentence."""
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    return f"versions {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def first_upper(text: str) -> str:
    """Return a sentence with its first letter as a capital, and the others as they are."""
    return text[:1].upper() + text[1:]


def brief(reason: str) -> str:
    """Return a reason without the sentences of all checks where all passed: they are shown as checks."""
    found = _PASSED.match(reason)
    return reason if found is None else found[1]


def mark(outcome: str) -> str:
    """Return the sign of an outcome, which says the same as its colour."""
    return _MARKS.get(outcome, "")


def moment(at: float) -> str:
    """Return a time in seconds since the epoch as a machine reads it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(at: float) -> str:
    """Return a time in seconds since the epoch as a person reads it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
