"""What was seen of stable and candidate during one step.

Gateway workers report counts that are cumulative since their start. Evidence is the sum of the differences between
reports, and remembers for every worker the report that it has counted up to. Stored together, neither a repeated
report, a lost one nor a restarted controller counts an answer twice or forgets one.

Only answers given under the step's own weight are evidence, so that stable and candidate are compared over the same
time: a difference counts when its earlier report already served the step's route. The first report of a worker that
is not known is therefore where its counting begins, never evidence itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from services.core.counts.comparison import Comparison
from services.core.counts.tally import Tally
from services.core.memory.course import MemoryCourse, MemoryReading
from services.core.rollouts.custom_metric import CustomMetric, Measurements, Reading
from services.core.rollouts.outcomes import Totals

_EMPTY = Tally()


@dataclass(frozen=True, slots=True)
class Sighting:
    """One worker's cumulative counts for one rollout's two versions.

    Attributes:
        sequence: Number of the report; grows with every report of a worker.
        served_generation: Generation of the route table that the worker served with when it reported.
        stable: Cumulative counts of the stable version in the stable role.
        candidate: Cumulative counts of the candidate in the candidate role.
        comparison: Cumulative counts of copies of the one's requests that the other got, in either direction: a step
            mirrors in one.
        floor: The same of copies that went to the version that had answered itself.
        arms: Cumulative counts of further arms of an A/B test, by version.
    """

    sequence: int
    served_generation: int
    stable: Tally = field(default_factory=Tally)
    candidate: Tally = field(default_factory=Tally)
    comparison: Comparison = field(default_factory=Comparison)
    floor: Comparison = field(default_factory=Comparison)
    arms: Mapping[int, Tally] = field(default_factory=dict)

    def continues(self, earlier: Sighting) -> bool:
        """Return whether the counts can have grown out of an earlier sighting of the same worker."""
        return (
            _grew(earlier.stable, self.stable)
            and _grew(earlier.candidate, self.candidate)
            and self.comparison.grew_from(earlier.comparison)
            and self.floor.grew_from(earlier.floor)
            and all(version in self.arms and _grew(old, self.arms[version]) for version, old in earlier.arms.items())
        )


def _grew(old: Tally, new: Tally) -> bool:
    return (
        old.requests <= new.requests
        and old.failed <= new.failed
        and old.non_finite <= new.non_finite
        and old.unanswered <= new.unanswered
        and all(count <= new.latency.counts.get(bucket, 0) for bucket, count in old.latency.counts.items())
        and all(
            len(counts) <= len(new.predictions.get(output, ()))
            and all(a <= b for a, b in zip(counts, new.predictions[output], strict=False))
            for output, counts in old.predictions.items()
        )
        and all(what in new.values and new.values[what].grew_from(values) for what, values in old.values.items())
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a verdict is made of.

    Attributes:
        stable: What stable answered.
        candidate: What the candidate answered.
        comparison: How the answers of the two differ on the same requests.
        floor: How two answers of the same version differ.
        measurements: What custom metrics showed, by name.
        memory: How the memory of both went since the first step.
        arms: What further arms of an A/B test answered, by version.
        outcomes: What became of the answers, by version, stable's among them.
        stable_non_finite_before: Answers of stable that were not finite, in earlier steps or before the rollout, as far
            as the workers have counted.
        arms_memory: How the memory of stable and of each further arm went, by version, as ``memory`` has it.
    """

    stable: Tally = field(default_factory=Tally)
    candidate: Tally = field(default_factory=Tally)
    comparison: Comparison = field(default_factory=Comparison)
    floor: Comparison = field(default_factory=Comparison)
    measurements: Mapping[str, Measurements] = field(default_factory=dict)
    memory: MemoryCourse = field(default_factory=MemoryCourse)
    arms: Mapping[int, Tally] = field(default_factory=dict)
    outcomes: Mapping[int, Totals] = field(default_factory=dict)
    stable_non_finite_before: int = 0
    arms_memory: Mapping[int, MemoryCourse] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The counts of one step, and how far each worker's reports are counted.

    Attributes:
        stable: What the stable version answered under the step's weight.
        candidate: What the candidate answered under the step's weight.
        cursors: The last sighting that is counted, by worker instance.
        comparison: How the answers of the two differ on the same requests; of the ``Comparison``, ``original`` is
            whichever of them answered the client.
        floor: How two answers of the same version differ: the noise floor of ``comparison``.
        route_generation: The generation of the route table under which it was seen; 0 before anything was.
        measurements: What custom metrics showed, by name.
        memory: How the memory of both went since the first step.
        arms: What further arms of an A/B test answered, by version.
        outcomes: What became of the answers, by version, stable's among them.
        stable_non_finite_before: Answers of stable that were not finite, in earlier steps or before the rollout, as far
            as the workers have counted.
        arms_memory: How the memory of stable and of each further arm went, by version, as ``memory`` has it.
    """

    stable: Tally = field(default_factory=Tally)
    candidate: Tally = field(default_factory=Tally)
    cursors: Mapping[str, Sighting] = field(default_factory=dict)
    comparison: Comparison = field(default_factory=Comparison)
    floor: Comparison = field(default_factory=Comparison)
    route_generation: int = 0
    measurements: Mapping[str, Measurements] = field(default_factory=dict)
    memory: MemoryCourse = field(default_factory=MemoryCourse)
    arms: Mapping[int, Tally] = field(default_factory=dict)
    outcomes: Mapping[int, Totals] = field(default_factory=dict)
    stable_non_finite_before: int = 0
    arms_memory: Mapping[int, MemoryCourse] = field(default_factory=dict)

    def absorb(self, sightings: Mapping[str, Sighting], live: Collection[str], since_generation: int) -> Evidence:
        """Return the evidence with everything counted that is new in the sightings.

        Args:
            sightings: The latest sighting of each worker that reported.
            live: Workers that may still report. Others are forgotten, so the cursors stay as bounded as the fleet.
            since_generation: The generation of the route table that brought the step's weight.
        """
        stable, candidate = self.stable, self.candidate
        comparison, floor, arms = self.comparison, self.floor, dict(self.arms)
        odd_before = self.stable_non_finite_before
        cursors = {instance: cursor for instance, cursor in self.cursors.items() if instance in live}
        for instance, seen in sightings.items():
            cursor = cursors.get(instance)
            if cursor is not None and seen.sequence <= cursor.sequence:
                continue
            cursors[instance] = seen
            if cursor is None or not seen.continues(cursor):
                odd_before += seen.stable.non_finite
                continue
            if cursor.served_generation < since_generation:
                odd_before += seen.stable.non_finite - cursor.stable.non_finite
                continue
            stable += seen.stable - cursor.stable
            candidate += seen.candidate - cursor.candidate
            comparison = comparison.absorbing(seen.comparison - cursor.comparison)
            floor = floor.absorbing(seen.floor - cursor.floor)
            for version, tally in seen.arms.items():
                arms[version] = arms.get(version, _EMPTY) + (tally - cursor.arms.get(version, _EMPTY))
        if cursors == self.cursors:
            return self
        return Evidence(
            stable,
            candidate,
            cursors,
            comparison,
            floor,
            since_generation,
            self.measurements,
            self.memory,
            arms,
            self.outcomes,
            odd_before,
            self.arms_memory,
        )

    def measured(self, metric: CustomMetric, reading: Reading) -> Evidence:
        """Return the evidence with one more measurement of a metric; one that is not newer than the last is known."""
        known = self.measurements.get(metric.name, Measurements())
        if reading.at <= known.last_at:
            return self
        return replace(self, measurements={**self.measurements, metric.name: known.with_reading(metric, reading)})

    def with_memory(
        self, reading: MemoryReading, stable: tuple[str, int], candidate: tuple[str, int], arms: Collection[int] = ()
    ) -> Evidence:
        """Return the evidence with one more look at the memory of stable, the candidate and further arms.

        Args:
            reading: The look.
            stable: Model and version.
            candidate: The same.
            arms: Further versions of that model.
        """
        answers = self.stable.requests
        course = self.memory.with_reading(reading, (stable, candidate), (answers, self.candidate.requests))
        if course is self.memory:
            return self
        model, _ = candidate
        of_arms = {
            arm: self.arms_memory.get(arm, MemoryCourse()).with_reading(
                reading, (stable, (model, arm)), (answers, self.arms.get(arm, _EMPTY).requests)
            )
            for arm in arms
        }
        return replace(self, memory=course, arms_memory=of_arms)

    def fed_back(self, outcomes: Mapping[int, Totals]) -> Evidence:
        """Return the evidence with what became of the answers by now, as it is stored."""
        return self if outcomes == self.outcomes else replace(self, outcomes=outcomes)

    @property
    def seen(self) -> Seen:
        """What a verdict is made of."""
        return Seen(
            self.stable,
            self.candidate,
            self.comparison,
            self.floor,
            self.measurements,
            self.memory,
            self.arms,
            self.outcomes,
            self.stable_non_finite_before,
            self.arms_memory,
        )

    def next_step(self) -> Evidence:
        """Return no evidence but the course of memory, and that stable gives answers that are not finite if it does.

        Every worker's counting goes on from where it is.
        """
        return Evidence(
            cursors=self.cursors,
            memory=self.memory.after_step(self.stable.requests, self.candidate.requests),
            stable_non_finite_before=self.stable_non_finite_before + self.stable.non_finite,
            arms_memory={
                arm: course.after_step(self.stable.requests, self.arms.get(arm, _EMPTY).requests)
                for arm, course in self.arms_memory.items()
            },
        )
