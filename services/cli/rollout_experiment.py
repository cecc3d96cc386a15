"""The flags of an A/B test, and what they mean in the request that starts it."""

from __future__ import annotations

import re
from typing import Any

import click

from services.core.errors import ConfigurationError
from services.core.rollouts.experiment import OnWin
from services.core.rollouts.rollout_spec import Strategy

_ARM = re.compile(r"(\d+):(\d+)")
_NUMBER = r"-?\d+(?:\.\d+)?"
_OUTCOME = re.compile(
    rf"(?P<name>[^:]+)(:(?P<kind>share|value)(:(?P<low>{_NUMBER}):(?P<high>{_NUMBER}))?(:(?P<better>higher|lower))?)?"
)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%?)")
_DEFAULT_WEIGHT = 50

EXPERIMENT_OPTIONS = (
    click.option(
        "--arm",
        "arms",
        multiple=True,
        metavar="VERSION:WEIGHT",
        help="Of an A/B test: a version beside the candidate, for example 4:25; repeat for more.",
    ),
    click.option(
        "--outcome",
        metavar="NAME[:share|value[:LOW:HIGH]][:higher|lower]",
        help="Of an A/B test: what is fed back, for example clicked:share or spent:value:0:500, and what is better.",
    ),
    click.option("--min-lift", metavar="SHARE", help="Smallest improvement that matters.  [default: 2%]"),
    click.option("--significance", metavar="SHARE", help="Highest probability of a false claim.  [default: 5%]"),
    click.option("--min-outcomes", type=int, help="Outcomes that each version must have.  [default: 200]"),
    click.option("--min-runtime", metavar="DURATION", help="Shortest time of an A/B test.  [default: 1h]"),
    click.option(
        "--on-win",
        type=click.Choice([one.value for one in OnWin]),
        help="Leave stable the traffic when an arm has won, or give it to the winner.  [default: conclude]",
    ),
)


def share_of(text: str) -> float:
    """Return a share: ``2%`` or ``0.02``.

    Raises:
        ConfigurationError: It is neither.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"share '{text}'; expected a number or a percentage, for example 0.02 or 2%")
    return float(match[1]) / (100 if match[2] else 1)


def with_experiment(
    body: dict[str, Any],
    *,
    arms: tuple[str, ...] = (),
    outcome: str | None = None,
    min_lift: str | None = None,
    significance: str | None = None,
    min_outcomes: int | None = None,
    on_win: str | None = None,
    min_runtime_s: float | None = None,
) -> dict[str, Any]:
    """Return the body of a request with the flags of an A/B test over what is there.

    Raises:
        ConfigurationError: A flag has another form, or says how long the step of an A/B test takes and this is none.
    """
    said: dict[str, Any] = {
        "outcome": None if outcome is None else _outcome(outcome),
        "arms": [_arm(text) for text in arms] or None,
        "min_lift": None if min_lift is None else share_of(min_lift),
        "significance": None if significance is None else share_of(significance),
        "min_outcomes": min_outcomes,
        "on_win": on_win,
    }
    said = {name: value for name, value in said.items() if value is not None}
    if said:
        body = {**body, "experiment": (body.get("experiment") or {}) | said}
    if min_runtime_s is not None:
        _expect_ab(body)
        first, *others = body.get("steps") or [{"weight_percent": _DEFAULT_WEIGHT}]
        body = {**body, "steps": [{**first, "duration_s": min_runtime_s}, *others]}
    return body


def _expect_ab(body: dict[str, Any]) -> None:
    strategy = body.get("strategy") or Strategy.CANARY.value
    if strategy != Strategy.AB.value:
        raise ConfigurationError(
            f"--min-runtime is of an A/B test, and the strategy is {strategy}; say --strategy ab, or say how long each "
            "step takes with --step, for example 5:30s"
        )


def _arm(text: str) -> dict[str, int]:
    match = _ARM.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"arm '{text}'; expected VERSION:WEIGHT, for example 4:25 for 25 % of the traffic")
    return {"version": int(match[1]), "weight_percent": int(match[2])}


def _outcome(text: str) -> dict[str, Any]:
    match = _OUTCOME.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(
            f"outcome '{text}'; expected NAME[:share|value[:LOW:HIGH]][:higher|lower], for example clicked:share, "
            "spent:value:0:500 or complained:share:lower"
        )
    found: dict[str, Any] = {name: match[name] for name in ("name", "kind", "better") if match[name] is not None}
    return found | {name: float(match[name]) for name in ("low", "high") if match[name] is not None}
