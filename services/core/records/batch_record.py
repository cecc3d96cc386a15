"""The part of a manifest that says how far an answer depends on who shares its batch: in serving that is chance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """How far the answer to a row in a batch is from the answer to the same row alone, on held-out rows.

    Sums in another order show here, and scales that are computed over a whole batch (``int8_dynamic``) show more.

    Attributes:
        rows: How many rows were compared.
        batches: How many batches each of them was in, with other rows each time.
        batch_size: Rows in a batch.
        max_abs_diff: Largest difference of an element, by output, over the elements that are finite in both.
        changed: Share of the rows whose best class is another one in some batch; None where no output has classes.
    """

    rows: int
    batches: int
    batch_size: int
    max_abs_diff: dict[str, float]
    changed: float | None

    @property
    def text(self) -> str:
        """What it says in a few words."""
        most = f"{max(self.max_abs_diff.values(), default=0.0):.2g}"
        return most if self.changed is None else f"{most}, {self.changed:.2%} change class"
