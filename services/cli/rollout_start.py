"""What ``penstock rollout start`` sends: the file, with the flags over it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from services.cli.memory_options import memory_of, others_of
from services.cli.rollout_experiment import with_experiment
from services.cli.yamlfile import load_yaml
from services.core.errors import ConfigurationError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_STEP = re.compile(r"(?P<weight>\d+)(:(?P<duration>[^:]+)(:(?P<min_requests>\d+)(:(?P<mirror_percent>\d+))?)?)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def duration_s(text: str) -> float:
    """Return seconds: ``30``, ``30s``, ``1.5m``, ``2h`` or ``200ms``.

    Raises:
        ConfigurationError: It is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(f"duration '{text}'; expected a number with ms, s, m or h, for example 30s")
    return float(match[1]) * _SECONDS[match[2]]


def step_of(text: str) -> dict[str, Any]:
    """Return the step that ``WEIGHT[:DURATION[:REQUESTS[:MIRROR]]]`` means; the controller chooses what is left out.

    Raises:
        ConfigurationError: It has another form.
    """
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError(
            f"step '{text}'; expected WEIGHT[:DURATION[:REQUESTS[:MIRROR]]], for example 5:30s:100, or 5:30s:100:20 to "
            "copy 20 % of the requests as well"
        )
    step: dict[str, Any] = {"weight_percent": int(match["weight"])}
    if match["duration"] is not None:
        step["duration_s"] = duration_s(match["duration"])
    step |= {name: int(match[name]) for name in ("min_requests", "mirror_percent") if match[name] is not None}
    return step


def body_of(
    file: Path | None,
    *,
    model: str | None,
    version: int | None,
    steps: tuple[str, ...],
    max_step_duration: str | None,
    on_inconclusive: str | None = None,
    strategy: str | None = None,
    arms: tuple[str, ...] = (),
    outcome: str | None = None,
    min_lift: str | None = None,
    significance: str | None = None,
    min_outcomes: int | None = None,
    min_runtime: str | None = None,
    on_win: str | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Return the body of the request that starts a rollout.

    Raises:
        ConfigurationError: The file is wrong, a flag is, or model or version are missing.
    """
    body: dict[str, Any] = _read(file) if file is not None else {}
    if model:
        body["model"] = model
    if version is not None:
        body["version"] = version
    if steps:
        body["steps"] = [step_of(text) for text in steps]
    analysis = {name: value for name, value in others_of(further).items() if value is not None}
    body["analysis"] = body.get("analysis", {}) | analysis
    if asked := memory_of(further):
        body["memory"] = body.get("memory", {}) | asked
    if max_step_duration is not None:
        body["max_step_duration_s"] = duration_s(max_step_duration)
    if on_inconclusive is not None:
        body["on_inconclusive"] = on_inconclusive
    if strategy is not None:
        body["strategy"] = strategy
    body = with_experiment(
        body,
        arms=arms,
        outcome=outcome,
        min_lift=min_lift,
        significance=significance,
        min_outcomes=min_outcomes,
        on_win=on_win,
        min_runtime_s=None if min_runtime is None else duration_s(min_runtime),
    )
    missing = [name for name in ("model", "version") if not body.get(name)]
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} missing; say `penstock rollout start MODEL --version N`, or give them in --file"
        )
    return body


def _read(file: Path) -> dict[str, Any]:
    from services.cli.rollout_file import RolloutFile

    document: dict[str, Any] = load_yaml(file, RolloutFile).model_dump(mode="json", exclude_unset=True)
    return document
