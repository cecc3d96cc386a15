"""The variants of one network: made, judged, mended where INT8 misses a bound, and timed against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from enginebuild.candidates import Candidate, Made, Quality
from enginebuild.convert.sensitivity import fewest_kept
from enginebuild.datatypes import Arrays
from enginebuild.gate import Evidence, objections
from enginebuild.measure.batching import batch_dependence
from enginebuild.measure.judge import Judge
from enginebuild.measure.speed import Timing, compare
from enginebuild.recipe.recipe import Recipe
from enginebuild.recipe.variants import BASELINE, Variant
from enginebuild.runtime import repeat_to
from enginebuild.targets.target import Target
from services.core.errors import BuildFailed
from services.core.records.manifest import LayerEntry, SpeedEntry

_SHOWN_LAYERS = 3


class Workbench:
    """Brings the variants of one network to the gate.

    Args:
        recipe: What is demanded.
        target: Makes and runs them, from the trained network.
        target_of: Returns what makes and runs those of a variant's own network.
        judge: Says how good they are.
        inputs: The held-out inputs, which speed is measured on.
        say: Tells a person what is under way.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        target: Target,
        target_of: Callable[[Variant], Target],
        judge: Judge,
        inputs: Arrays,
        say: Callable[[str], None],
    ) -> None:
        self._recipe, self._target, self._target_of = recipe, target, target_of
        self._judge, self._inputs, self._say = judge, inputs, say

    def candidates(self, variants: Sequence[Variant]) -> list[Candidate]:
        """Return a candidate per variant, in their order, each with the gate's objections.

        An INT8 variant that is not good enough is followed by one that keeps its most sensitive operators out of it,
        where that helps. A variant that cannot be made is a candidate with objections.
        """
        baseline = self._target.make(Variant(name=BASELINE, precision=BASELINE))
        found = [self._examined(candidate) for variant in variants for candidate in self._tried(variant)]
        timings = self._time(baseline.path, [candidate.made.path for candidate in found if candidate.made is not None])
        return [self._finished(candidate, timings) for candidate in found]

    def _tried(self, variant: Variant) -> list[Candidate]:
        """Make and judge a variant, and its mixed form where INT8 is not good enough."""
        try:
            target = self._target_of(variant)
            made, quality = self._judged(target, variant)
        except BuildFailed as error:
            return [Candidate(variant, objections=(error.message,))]
        candidate = Candidate(variant, made, quality)
        if not quality.objections or variant.precision != "int8" or not self._recipe.quantization.fallback:
            return [candidate]
        self._say(f"{variant.name} is not good enough: {quality.objections[0]}; looking for the operators that do it")
        layers = target.sensitivity()
        mixed = self._mixed(target, variant, layers)
        return [replace(candidate, sensitivity=layers), *([mixed] if mixed else [])]

    def _examined(self, candidate: Candidate) -> Candidate:
        """Return a candidate with what batches do to it and, where it is good enough, with the runtime's evidence."""
        made, quality = candidate.made, candidate.quality
        if made is None or quality is None:
            return candidate
        try:
            target = self._target_of(candidate.variant)
            self._say(f"running rows of {candidate.name} alone and in batches")
            batching = batch_dependence(self._recipe, target.load(made.path), self._inputs)
            if not quality.objections:
                made = target.proved(made)
            return replace(candidate, made=made, batching=batching)
        except BuildFailed as error:
            return Candidate(candidate.variant, objections=(error.message,), sensitivity=candidate.sensitivity)

    def _mixed(self, target: Target, variant: Variant, layers: Sequence[LayerEntry]) -> Candidate | None:
        """Return the form that keeps as few of the worst operators out of INT8 as will do; None where none does."""
        mixed = variant.mixed()

        def is_enough(kept: Sequence[str]) -> bool:
            try:
                return not self._judged(target, mixed, kept)[1].objections
            except BuildFailed:  # nothing is left to quantise
                return False

        kept = fewest_kept([layer.name for layer in layers], is_enough)
        if kept is None:
            self._say(f"no choice of operators makes {variant.name} good enough")
            return None
        more = f" and {len(kept) - _SHOWN_LAYERS} more" if len(kept) > _SHOWN_LAYERS else ""
        self._say(f"{mixed.name} keeps {', '.join(kept[:_SHOWN_LAYERS])}{more} out of INT8")
        made, quality = self._judged(target, mixed, kept)
        return Candidate(mixed, made, quality, sensitivity=tuple(layers))

    def _judged(self, target: Target, variant: Variant, kept: Sequence[str] = ()) -> tuple[Made, Quality]:
        made = target.make(variant, kept)
        return made, self._judge.judge(made, target.load(made.path))

    def _time(self, baseline: Path, paths: Sequence[Path]) -> dict[Path, Timing]:
        """Return how long each file takes against the baseline."""
        models = {path: self._target.load(path) for path in (baseline, *paths)}
        size = self._recipe.serving.measured_batch_size
        self._say(f"timing {', '.join(path.stem for path in models)} in turns at batch {size}")
        inputs = repeat_to(self._inputs, size)
        return compare({path: model.once(inputs) for path, model in models.items()}, baseline)

    def _finished(self, candidate: Candidate, timings: dict[Path, Timing]) -> Candidate:
        made, quality, variant = candidate.made, candidate.quality, candidate.variant
        if made is None or quality is None:
            return candidate
        speed = _speed_entry(timings[made.path], self._recipe, self._target.provider)
        evidence = Evidence(
            variant=variant.rules,
            is_baseline=variant.is_baseline,
            metrics=quality.metrics,
            fidelity=quality.fidelity,
            speedup=speed.speedup,
            batching=candidate.batching,
        )
        against = objections(evidence, self._recipe.gate)
        return replace(candidate, speed=speed, objections=against, size_bytes=made.path.stat().st_size)


def _speed_entry(timing: Timing, recipe: Recipe, provider: str) -> SpeedEntry:
    size = recipe.serving.measured_batch_size
    return SpeedEntry(
        provider=provider,
        threads=recipe.serving.threads,
        batch_size=size,
        latency_ms=round(timing.seconds * 1e3, 4),
        items_per_s=round(size / timing.seconds, 1),
        speedup=round(timing.ratio, 3),
        speedup_low=round(timing.ratio_low, 3),
        speedup_high=round(timing.ratio_high, 3),
        rounds=timing.rounds,
    )
