"""How much of its answers a gateway worker tells the controller.

The gateway leaves out what is beyond these bounds, and the controller drops it: a model that has too much to tell costs
no other model its evidence.
"""

from __future__ import annotations

from typing import Final

MAX_OUTPUTS: Final = 64
"""Outputs of one version and role whose first classes are counted."""
MAX_NAME: Final = 1024
"""Characters in the name of an output or of a slice."""


def fits(name: str) -> bool:
    """Return whether the name of an output or of a slice has its place in a report."""
    return 1 <= len(name) <= MAX_NAME
