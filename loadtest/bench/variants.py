"""Further gateways to compare in the same run: other settings, another number of workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from loadtest.bench.measure import GATEWAY
from services.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Variant:
    """One gateway beside the plain one.

    Attributes:
        name: What the report calls it.
        workers: Its worker processes; None for as many as the plain one has.
        settings: Settings of its own, nested as in ``penstock.yaml``.
    """

    name: str
    workers: int | None
    settings: dict[str, Any]


def parse(texts: Sequence[str]) -> list[Variant]:
    """Read ``NAME: dotted.setting=value, ...``, such as ``traced: gateway.tracing.sample_ratio=0.01``.

    ``workers=N`` is the number of worker processes; values are YAML.

    Raises:
        ConfigurationError: A text is not of that form, or a name comes twice.
    """
    variants: list[Variant] = []
    for text in texts:
        name, colon, rest = (part.strip() for part in text.partition(":"))
        if not colon or not name or name in {GATEWAY, "direct", *(one.name for one in variants)}:
            raise ConfigurationError(f"--variant '{text}': expected a new NAME: dotted.setting=value, ...")
        workers, settings = None, dict[str, Any]()
        for assignment in filter(None, (part.strip() for part in rest.split(","))):
            key, equals, value = assignment.partition("=")
            if not equals:
                raise ConfigurationError(f"--variant '{text}': '{assignment}' is not dotted.setting=value")
            if key == "workers":
                workers = _count(value, text)
            else:
                _put(settings, key.split("."), yaml.safe_load(value))
        variants.append(Variant(name, workers, settings))
    return variants


def scaling(counts: Iterable[int]) -> list[Variant]:
    """Return a gateway for each number of workers."""
    return [Variant(f"{count} worker{'s' if count > 1 else ''}", count, {}) for count in sorted(counts)]


def tracing(endpoint: str) -> list[Variant]:
    """Return gateways that trace none and one in a hundred of the requests without a trace of their own."""
    return [
        Variant(f"traced {ratio:.0%}", None, {"gateway": {"tracing": {"endpoint": endpoint, "sample_ratio": ratio}}})
        for ratio in (0.0, 0.01)
    ]


def _count(value: str, text: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ConfigurationError(f"--variant '{text}': workers is '{value}'; expected a number from 1")
    return int(value)


def _put(tree: dict[str, Any], place: list[str], value: Any) -> None:
    for part in place[:-1]:
        tree = tree.setdefault(part, {})
    tree[place[-1]] = value
