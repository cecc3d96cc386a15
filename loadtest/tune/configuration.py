"""What is tuned: the part of a model's configuration that decides how its requests become batches."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from services.core.errors import ConfigurationError

# In the order in which they are searched: what moves the knee most comes first.
AXES = ("max_batch", "instances", "delay_us", "preferred")
NO_PREFERRED, FULL, HALVES = "none", "full", "halves"
PREFERENCES = (NO_PREFERRED, FULL, HALVES)
_DELAYS_US = (0, 100, 500, 2_000, 5_000, 20_000)
_MOST_INSTANCES = 4


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run a model.

    Attributes:
        instances: Instances of the model, in each instance group.
        max_batch: Most rows that Triton puts together.
        delay_us: How long a request waits for others, in microseconds.
        preferred: Which batch sizes Triton aims for: ``none`` in particular, ``full`` ones, or full ones and halves.
    """

    instances: int
    max_batch: int
    delay_us: int
    preferred: str

    @property
    def text(self) -> str:
        """In words, for a person."""
        return (
            f"{self.instances} instances, batches to {self.max_batch}, {self.delay_us} us delay, "
            f"preferred {self.preferred}"
        )

    @property
    def preferred_sizes(self) -> list[int]:
        """The preferred batch sizes."""
        if self.preferred == NO_PREFERRED or self.max_batch == 1:
            return []
        return [self.max_batch] if self.preferred == FULL else sorted({max(1, self.max_batch // 2), self.max_batch})

    def over(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model's configuration, in Triton's JSON, with this in it."""
        found = {**config, "max_batch_size": self.max_batch}
        batching = {
            key: value for key, value in config.get("dynamic_batching", {}).items() if key != "preferred_batch_size"
        }
        batching["max_queue_delay_microseconds"] = self.delay_us
        if self.preferred_sizes:
            batching["preferred_batch_size"] = self.preferred_sizes
        found["dynamic_batching"] = batching
        groups = config.get("instance_group") or [{"kind": "KIND_AUTO"}]
        found["instance_group"] = [{**group, "count": self.instances} for group in groups]
        # A warm-up with larger batches than the model takes would keep it from loading.
        found["model_warmup"] = [
            one for one in config.get("model_warmup", []) if int(one.get("batch_size", 0)) <= self.max_batch
        ]
        return found


@dataclass(frozen=True, slots=True)
class Space:
    """The configurations to choose from: every combination of one value per axis.

    Attributes:
        instances: Ascending; likewise the others.
        max_batch: See ``Configuration``.
        delay_us: See ``Configuration``.
        preferred: See ``Configuration``.
    """

    instances: tuple[int, ...]
    max_batch: tuple[int, ...]
    delay_us: tuple[int, ...]
    preferred: tuple[str, ...] = (NO_PREFERRED,)

    def __post_init__(self) -> None:
        for axis in AXES:
            values = getattr(self, axis)
            if not values or len(set(values)) != len(values):
                raise ConfigurationError(f"{axis}: {list(values)}; expected one value or more, none of them twice")

    def __len__(self) -> int:
        return len(self.instances) * len(self.max_batch) * len(self.delay_us) * len(self.preferred)

    def all(self) -> list[Configuration]:
        """Return every configuration."""
        return [
            Configuration(*values)
            for values in itertools.product(self.instances, self.max_batch, self.delay_us, self.preferred)
        ]

    def moved(self, configuration: Configuration, axis: str, steps: int) -> Configuration | None:
        """Return the configuration some steps further along an axis; None beyond its end."""
        values = getattr(self, axis)
        at = values.index(getattr(configuration, axis)) + steps
        return replace(configuration, **{axis: values[at]}) if 0 <= at < len(values) else None

    def nearest(self, configuration: Configuration) -> Configuration:
        """Return the configuration of this space that is most like another."""
        changes: dict[str, Any] = {}
        for axis in AXES:
            values, wanted = getattr(self, axis), getattr(configuration, axis)
            if wanted in values:
                continue
            numbers = isinstance(wanted, int)
            changes[axis] = min(values, key=lambda value: abs(value - wanted)) if numbers else values[0]
        return replace(configuration, **changes)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {axis: list(values) for axis, values in asdict(self).items()}


def present(config: Mapping[str, Any]) -> Configuration:
    """Return how a model's configuration, in Triton's JSON, runs it now."""
    batching = config.get("dynamic_batching", {})
    largest = int(config.get("max_batch_size", 0))
    sizes = [int(size) for size in batching.get("preferred_batch_size", [])]
    # Triton reports the largest batch as preferred where nothing is.
    preferred = NO_PREFERRED if sizes in ([], [largest]) else HALVES
    groups = config.get("instance_group") or [{}]
    return Configuration(
        instances=max(1, int(groups[0].get("count", 1))),
        max_batch=max(1, largest),
        delay_us=int(batching.get("max_queue_delay_microseconds", 0)),
        preferred=preferred,
    )


def space_around(config: Mapping[str, Any], slo_s: float, cores: int) -> Space:
    """Return the space to search when nobody says otherwise.

    Args:
        config: The model's configuration, in Triton's JSON; its largest batch is the largest that the model takes.
        slo_s: The bound on latency: a longer delay in the queue cannot keep it.
        cores: Cores of the machine; more instances than that only take turns.

    Raises:
        ConfigurationError: The model takes no batches.
    """
    largest = int(config.get("max_batch_size", 0))
    if largest < 1:
        raise ConfigurationError("max_batch_size is 0: the model takes no batches, and there is nothing to tune")
    batches = sorted({*(2**power for power in range(largest.bit_length()) if 2**power <= largest), largest})
    instances = [2**power for power in range(_MOST_INSTANCES) if 2**power <= max(1, cores)]
    delays = [delay for delay in _DELAYS_US if delay <= slo_s * 1e6 / 2]
    return Space(tuple(instances), tuple(batches), tuple(delays), PREFERENCES if largest > 1 else (NO_PREFERRED,))


def parse_numbers(text: str, option: str) -> tuple[int, ...]:
    """Return the numbers of an option, ascending.

    Raises:
        ConfigurationError: It is no list of numbers.
    """
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ConfigurationError(f"{option} {text}; expected whole numbers with commas between, such as 1,2,4")
    return tuple(sorted({int(number) for number in text.split(",")}))


def parse_preferences(text: str) -> tuple[str, ...]:
    """Return the preferences of an option.

    Raises:
        ConfigurationError: One is unknown.
    """
    found: Sequence[str] = text.split(",")
    if unknown := [name for name in found if name not in PREFERENCES]:
        raise ConfigurationError(f"--preferred {unknown[0]}; expected some of {', '.join(PREFERENCES)}")
    return tuple(found)
