"""What becomes of a request that was chosen for a copy. Each ends in exactly one of these."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """A value of the label ``outcome`` of ``penstock_mirror_total``."""

    SAME = "same"  # compared: within tolerance
    DIFFERENT = "different"  # compared: not
    FAILED = "failed"  # the copy had no answer, and the original had one

    FULL = "full"  # the queue holds as many copies, or as many bytes, as it may
    BUSY = "busy"  # no capacity beside live requests for as long as a copy waits
    RESTING = "resting"  # the version let copies run out of their time again and again
    REFUSED = "refused"  # Triton's own queue or every connection to it was full, or it could not be reached
    ENDING = "ending"  # the worker ends, or the route has no such mirror any more
    DEFECT = "defect"  # a defect of ours; the log has the details

    SEQUENCE = "sequence"  # one of a sequence: a copy would change the state of another
    DECOUPLED = "decoupled"  # a stream of responses, which has no one answer to compare


COMPARED: Final = frozenset({Outcome.SAME, Outcome.DIFFERENT})
DROPPED: Final = frozenset(
    {Outcome.FULL, Outcome.BUSY, Outcome.RESTING, Outcome.REFUSED, Outcome.ENDING, Outcome.DEFECT}
)
SKIPPED: Final = frozenset({Outcome.SEQUENCE, Outcome.DECOUPLED})
