"""How the memory of stable and candidate went on each Triton, in a bounded number of samples. Pure.

Of neighbours that become one, the smaller amounts stay: what a garbage collector gives back between two samples is no
growth, and a leak raises the smallest amounts as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from services.core.memory.report import MemoryReport, MemoryReports, Space

MOST_SAMPLES = 64
"""Samples of one Triton that are kept; with one more, pairs of neighbours become one."""
MOST_SERVERS = 4
"""Tritons whose memory is watched, the first that were seen: a leak is in the version, so any of them shows it."""


@dataclass(frozen=True, slots=True)
class MemorySample:
    """One look at one Triton.

    Attributes:
        at: When, seconds since the epoch.
        stable_bytes: Private memory of stable's processes.
        candidate_bytes: That of the candidate's.
        stable_answers: Requests that stable had answered since the rollout's first step, on all Tritons.
        candidate_answers: Those that the candidate had.
    """

    at: float
    stable_bytes: int
    candidate_bytes: int
    stable_answers: int
    candidate_answers: int

    def joined(self, later: MemorySample) -> MemorySample:
        """Return both as one: at the later time, with the smaller amounts."""
        return replace(
            later,
            stable_bytes=min(self.stable_bytes, later.stable_bytes),
            candidate_bytes=min(self.candidate_bytes, later.candidate_bytes),
        )


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """The samples of one Triton, all of the same processes.

    Attributes:
        stable_started_at: When the youngest process of stable began.
        candidate_started_at: The same of the candidate.
        samples: The samples, oldest first.
        per_sample: How many looks each of them stands for; the last one may stand for fewer.
        in_last: How many the last one stands for.
        space: The server's memory at the last look; None where it does not say.
        restarts: How often other processes were found, and the samples began anew.
    """

    stable_started_at: float
    candidate_started_at: float
    samples: tuple[MemorySample, ...] = ()
    per_sample: int = 1
    in_last: int = 0
    space: Space | None = None
    restarts: int = 0

    def with_sample(self, sample: MemorySample, space: Space | None) -> ServerMemory:
        """Return what there is after one more look."""
        if self.samples and self.in_last < self.per_sample:
            samples = (*self.samples[:-1], self.samples[-1].joined(sample))
            return replace(self, samples=samples, in_last=self.in_last + 1, space=space)
        samples = (*self.samples, sample)
        per_sample = self.per_sample
        in_last = 1
        if len(samples) > MOST_SAMPLES:
            pairs = zip(samples[:-1:2], samples[1::2], strict=True)
            samples, per_sample = (*(first.joined(second) for first, second in pairs), samples[-1]), 2 * per_sample
        return replace(self, samples=samples, per_sample=per_sample, in_last=in_last, space=space)


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """One look at all Tritons: when, seconds since the epoch, and what they said."""

    at: float
    reports: MemoryReports


@dataclass(frozen=True, slots=True)
class MemoryCourse:
    """The memory of a rollout's two versions since its first step: the same processes answer in all of its steps.

    Attributes:
        servers: The samples by Triton.
        last_at: When it was last looked, seconds since the epoch; 0 before the first look.
        problem: What kept the last look from seeing both versions on every watched Triton; empty where nothing did.
        stable_answers: Requests that stable answered in the steps that are over.
        candidate_answers: The same of the candidate.
    """

    servers: Mapping[str, ServerMemory] = field(default_factory=dict)
    last_at: float = 0.0
    problem: str = ""
    stable_answers: int = 0
    candidate_answers: int = 0

    @property
    def watched_s(self) -> float:
        """The shortest time that the samples of one Triton span, seconds."""
        spans = (one.samples[-1].at - one.samples[0].at for one in self.servers.values() if one.samples)
        return min(spans, default=0.0)

    def after_step(self, stable_answers: int, candidate_answers: int) -> MemoryCourse:
        """Return the same with the answers of a step that is over added up."""
        return replace(
            self,
            stable_answers=self.stable_answers + stable_answers,
            candidate_answers=self.candidate_answers + candidate_answers,
        )

    def with_reading(
        self, reading: MemoryReading, versions: tuple[tuple[str, int], tuple[str, int]], answers: tuple[int, int]
    ) -> MemoryCourse:
        """Return what there is after one more look; one that is not newer than the last is known.

        Args:
            reading: The look.
            versions: Stable and candidate, each as model and version.
            answers: What both have answered in the present step.
        """
        if reading.at <= self.last_at:
            return self
        known, problems = reading.reports.known, dict(reading.reports.problems)
        # A server that missed a look keeps its place and its samples; one that is listed no more is gone.
        listed = known.keys() | problems.keys()
        servers = {name: kept for name, kept in self.servers.items() if name in listed or not listed}
        others = [name for name in sorted(known) if name not in servers]
        for name in [*(name for name in servers if name in known), *others[: max(0, MOST_SERVERS - len(servers))]]:
            if any(version not in known[name].versions for version in versions):
                problems[name] = "it does not tell the memory of both versions apart"
                continue
            servers[name] = self._sampled(name, known[name], reading.at, versions, answers)
        if len(servers) >= MOST_SERVERS:  # what happens elsewhere is watched by nobody
            problems = {name: words for name, words in problems.items() if name in servers}
        problem = MemoryReports(known, problems).problem
        return replace(self, servers=servers, last_at=reading.at, problem=problem)

    def _sampled(
        self,
        name: str,
        report: MemoryReport,
        at: float,
        versions: tuple[tuple[str, int], tuple[str, int]],
        answers: tuple[int, int],
    ) -> ServerMemory:
        stable, candidate = (report.versions[version] for version in versions)
        known = self.servers.get(name)
        fresh = ServerMemory(stable.started_at, candidate.started_at, restarts=known.restarts + 1 if known else 0)
        if known is None or (known.stable_started_at, known.candidate_started_at) != (
            stable.started_at,
            candidate.started_at,
        ):
            known = fresh
        sample = MemorySample(
            at,
            stable.private_bytes,
            candidate.private_bytes,
            self.stable_answers + answers[0],
            self.candidate_answers + answers[1],
        )
        return known.with_sample(sample, report.host)
