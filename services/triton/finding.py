"""One thing that was looked at on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.core.errors import MissingDependency


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's outcome, as ``penstock doctor`` shows it.

    Attributes:
        name: What was looked for.
        ok: Whether it is as it must be.
        detail: What was found.
        remedy: One line that mends it; empty when ``ok``.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def require(findings: Iterable[Finding]) -> None:
    """Raise for the first finding that is not ok.

    Raises:
        MissingDependency: With the finding's words and remedy.
    """
    for finding in findings:
        if not finding.ok:
            raise MissingDependency(f"{finding.name}: {finding.detail}", remedy=finding.remedy)
