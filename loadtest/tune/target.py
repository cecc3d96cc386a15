"""The service level objective that goodput is measured under, such as ``p99=20ms``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import ConfigurationError

_FORM = re.compile(r"p(?P<percent>50|90|95|99|99\.9)=(?P<bound>\d+(\.\d+)?)(?P<unit>us|ms|s)")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Slo:
    """A bound on one quantile of latency; a request without an answer is slower than any bound.

    Attributes:
        quantile: 0 to 1.
        bound_s: Its bound in seconds.
    """

    quantile: float
    bound_s: float

    @property
    def text(self) -> str:
        """As it is written."""
        return f"p{self.quantile * 100:g}={self.bound_s * 1e3:g}ms"

    def tolerated(self, requests: int) -> int:
        """Return how many of so many requests may be slower, or unanswered."""
        return math.floor((1 - self.quantile) * requests + 1e-9)

    def quantile_s(self, latencies_s: Sequence[float]) -> float:
        """Return the quantile of latencies, unanswered ones infinite; infinite where there is none."""
        ascending = sorted(latencies_s)
        if not ascending:
            return math.inf
        return ascending[max(0, len(ascending) - 1 - self.tolerated(len(ascending)))]


def parse_slo(text: str) -> Slo:
    """Return an SLO.

    Raises:
        ConfigurationError: It has another form.
    """
    match = _FORM.fullmatch(text)
    if match is None or float(match["bound"]) == 0:
        raise ConfigurationError(f"--slo {text}; expected a quantile and a bound, such as p99=20ms or p95=1.5s")
    return Slo(float(match["percent"]) / 100, float(match["bound"]) * _UNITS[match["unit"]])
