"""What may be asked of memory, as options of a verb that starts or plans a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from services.cli.finite_float import FiniteFloat
from services.core.memory.terms import LeakCheck, OnUnknown

_PREFIX = "memory_"

OPTIONS = (
    click.option(
        "--memory-reserve", type=FiniteFloat(), help="Share of each Triton's memory that the candidate must leave."
    ),
    click.option(
        "--memory-on-unknown",
        type=click.Choice([one.value for one in OnUnknown]),
        help="What is done where nobody knows a Triton's memory.  [default: go-on]",
    ),
    click.option(
        "--memory-leak-check",
        type=click.Choice([one.value for one in LeakCheck]),
        help="watch: a leak that is shown rolls back. require: no step passes unwatched.  [default: watch]",
    ),
    click.option(
        "--memory-max-growth-mib-per-h", type=FiniteFloat(), help="Allowed growth beyond stable's, MiB an hour, or"
    ),
    click.option(
        "--memory-max-growth-share-per-h", type=FiniteFloat(), help="this share of its size an hour, if it is more."
    ),
    click.option("--memory-window-s", type=FiniteFloat(), help="Shortest time that a leak is shown by, seconds."),
    click.option("--memory-interval-s", type=FiniteFloat(), help="Time between two samples, seconds."),
)
"""The options; each is named after its key in the section ``memory`` of a rollout's file."""


def memory_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the options say, as the section has it."""
    return {
        name.removeprefix(_PREFIX): value
        for name, value in options.items()
        if name.startswith(_PREFIX) and value is not None
    }


def others_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not of memory."""
    return {name: value for name, value in options.items() if not name.startswith(_PREFIX)}
