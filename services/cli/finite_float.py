"""Numbers on the command line: "nan" and "inf" are floats for Python, and say nothing of a rollout."""

from __future__ import annotations

import math
from typing import Any

import click
from click.types import FloatParamType


class FiniteFloat(FloatParamType):
    """A number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; anything else, also one that is not finite, is wrong usage."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


class FiniteRange(click.FloatRange):
    """A number in a range, which an infinity is never in, however wide."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; anything else is wrong usage."""
        return super().convert(FiniteFloat().convert(value, param, ctx), param, ctx)
