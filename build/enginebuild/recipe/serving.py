"""How Triton runs a recipe's model."""

from __future__ import annotations

from pydantic import Field, model_validator

from enginebuild.recipe.references import BatchSize, Part


class QueuePolicy(Part):
    """What Triton does with requests that wait: how many may, and for how long before they are refused."""

    max_queue_size: int = Field(256, ge=1, le=1 << 20)
    default_timeout_microseconds: int = Field(1_000_000, ge=1)


class Serving(Part):
    """How Triton runs the model."""

    max_batch_size: BatchSize
    max_queue_delay_microseconds: int = Field(500, ge=0, le=10_000_000)
    preferred_batch_sizes: list[BatchSize] = Field(default_factory=list)
    instances: int = Field(1, ge=1, le=64)
    threads: int = Field(1, ge=1, le=256)
    queue: QueuePolicy = QueuePolicy()
    warmup_batch_sizes: list[BatchSize] | None = None

    @model_validator(mode="after")
    def _batches_fit(self) -> Serving:
        for size in [*self.preferred_batch_sizes, *(self.warmup_batch_sizes or [])]:
            if size > self.max_batch_size:
                raise ValueError(f"batch size {size} is over max_batch_size {self.max_batch_size}")
        return self

    @property
    def measured_batch_size(self) -> int:
        """The batch size at which speed is judged: the largest that Triton aims for."""
        return max(self.preferred_batch_sizes, default=self.max_batch_size)

    @property
    def warmups(self) -> list[int]:
        """The batch sizes that a fresh instance runs before it takes requests."""
        return sorted(set(self.warmup_batch_sizes if self.warmup_batch_sizes is not None else [1, self.max_batch_size]))
