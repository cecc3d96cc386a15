"""What the copies of live requests showed: how the answers of two versions to the same requests differ.

Everything counts pairs: one live request's answer and its copy's. The rows of one request are not independent of each
other, requests are; so a request of many rows is one pair, judged by its worst row. Counts add up across workers and
subtract across time, as those of ``Tally`` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from services.core.counts.difference import DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram

MAX_SLICES = 16
"""Most slices that have counts of their own; the others are counted together."""
OTHER = "other"
"""The slice of what belongs to none of them."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Pairs of answers, of all requests or of one slice.

    Attributes:
        pairs: Pairs that were compared.
        differing: Of these, the ones that differ: another class first in an output with class labels, an element of any
            other output beyond the mirror's tolerance, a value that is finite on one side alone, or ``mismatched``.
            Scores of labelled classes count as elements do where the mirror says so; the histograms have them always.
        mismatched: Of these, the ones whose outputs have other names, datatypes or shapes: nothing else of such an
            output is compared.
        ranked: Pairs with an output whose rows rank classes: one with class labels, or floating-point vectors of 2 to
            4096 elements for each row.
        agree: Of these, the ones in which every row of every such output has the same first class on both sides. An
            output without labels never makes a pair differ by its first element alone.
    """

    pairs: int = 0
    differing: int = 0
    mismatched: int = 0
    ranked: int = 0
    agree: int = 0

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(
            self.pairs + other.pairs,
            self.differing + other.differing,
            self.mismatched + other.mismatched,
            self.ranked + other.ranked,
            self.agree + other.agree,
        )

    def __sub__(self, earlier: PairCounts) -> PairCounts:
        return PairCounts(
            self.pairs - earlier.pairs,
            self.differing - earlier.differing,
            self.mismatched - earlier.mismatched,
            self.ranked - earlier.ranked,
            self.agree - earlier.agree,
        )

    def grew_from(self, earlier: PairCounts) -> bool:
        """Return whether the counts can have grown out of earlier ones."""
        return all(getattr(earlier, count.name) <= getattr(self, count.name) for count in fields(self))


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How one output differs. Every histogram has one observation for each pair that it applies to.

    With a the original's elements and b the copy's, of which the ones that are not finite on either side are left out:

    Attributes:
        pairs: Pairs in which the output could be compared: same datatype and shape on both sides.
        ranked: As in ``PairCounts``.
        agree: As in ``PairCounts``.
        non_finite: Pairs with an element that is a NaN or an infinity on one side and not the same on the other.
        original_non_finite: Of these, the ones in which every such element is the original's: the copy's is finite.
        copy_non_finite: Of these, the ones in which every such element is the copy's.
        both_non_finite: Pairs whose NaNs and infinities are the same ones in the same places on both sides. They are
            not among ``non_finite``.
        absolute: ``max |a - b|`` over all elements, in the output's unit. Integers and floating-point numbers.
        relative: ``max |a - b| / max(max |a|, max |b|)``, 0 to 2: the largest difference as a part of the largest
            magnitude, so that elements near 0 do not count as changed by many times. 0 where all elements are 0.
        cosine: Cosine distance ``1 - a.b / (|a| |b|)`` of the worst row, 0 to 2; 1 where one side alone is all 0, 0
            where both are. Floating-point numbers.
        divergence: Total variation ``sum |p - q| / 2`` of the worst row, 0 to 1, of outputs with class labels: p and
            q are the rows where they are distributions already (0 or more, sum 1 to 0.001), else their softmax.
    """

    pairs: int = 0
    ranked: int = 0
    agree: int = 0
    non_finite: int = 0
    original_non_finite: int = 0
    copy_non_finite: int = 0
    both_non_finite: int = 0
    absolute: DifferenceHistogram = field(default_factory=DifferenceHistogram)
    relative: DifferenceHistogram = field(default_factory=DifferenceHistogram)
    cosine: DifferenceHistogram = field(default_factory=DifferenceHistogram)
    divergence: DifferenceHistogram = field(default_factory=DifferenceHistogram)

    def __add__(self, other: OutputComparison) -> OutputComparison:
        return OutputComparison(
            self.pairs + other.pairs,
            self.ranked + other.ranked,
            self.agree + other.agree,
            self.non_finite + other.non_finite,
            self.original_non_finite + other.original_non_finite,
            self.copy_non_finite + other.copy_non_finite,
            self.both_non_finite + other.both_non_finite,
            self.absolute + other.absolute,
            self.relative + other.relative,
            self.cosine + other.cosine,
            self.divergence + other.divergence,
        )

    def __sub__(self, earlier: OutputComparison) -> OutputComparison:
        return OutputComparison(
            self.pairs - earlier.pairs,
            self.ranked - earlier.ranked,
            self.agree - earlier.agree,
            self.non_finite - earlier.non_finite,
            self.original_non_finite - earlier.original_non_finite,
            self.copy_non_finite - earlier.copy_non_finite,
            self.both_non_finite - earlier.both_non_finite,
            self.absolute - earlier.absolute,
            self.relative - earlier.relative,
            self.cosine - earlier.cosine,
            self.divergence - earlier.divergence,
        )

    def grew_from(self, earlier: OutputComparison) -> bool:
        """Return whether the counts can have grown out of earlier ones."""
        return (
            earlier.pairs <= self.pairs
            and earlier.ranked <= self.ranked
            and earlier.agree <= self.agree
            and earlier.non_finite <= self.non_finite
            and earlier.original_non_finite <= self.original_non_finite
            and earlier.copy_non_finite <= self.copy_non_finite
            and earlier.both_non_finite <= self.both_non_finite
            and self.absolute.grew_from(earlier.absolute)
            and self.relative.grew_from(earlier.relative)
            and self.cosine.grew_from(earlier.cosine)
            and self.divergence.grew_from(earlier.divergence)
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The copies of requests that one version answered and another one got; or the same one, for the noise floor.

    Attributes:
        all: Pairs of all requests.
        failed: Copies without an answer, whose originals had one: a failure, a refusal of the request, or no answer
            in time.
        dropped: Requests chosen for a copy that was not sent, or given up, for reasons that say nothing about the
            version: no room in the queue, no capacity beside live requests, Triton's own queue full, the end of the
            worker.
        skipped: Requests chosen for a copy that cannot be copied: one of a sequence or of a decoupled model.
        original: Time at Triton of the originals of the pairs, seconds: the same requests as ``copy``.
        copy: Time at Triton of the copies of the pairs, seconds.
        outputs: What was compared, by output name.
        slices: Pairs by slice, named ``key=value``, and ``OTHER``. Empty without a slice key. A worker names at most
            ``MAX_SLICES`` for each of four keys, evidence at most ``MAX_SLICES`` (``absorbing``).
    """

    all: PairCounts = field(default_factory=PairCounts)
    failed: int = 0
    dropped: int = 0
    skipped: int = 0
    original: LatencyHistogram = field(default_factory=LatencyHistogram)
    copy: LatencyHistogram = field(default_factory=LatencyHistogram)
    outputs: Mapping[str, OutputComparison] = field(default_factory=dict)
    slices: Mapping[str, PairCounts] = field(default_factory=dict)

    @property
    def pairs(self) -> int:
        """Pairs that were compared."""
        return self.all.pairs

    @property
    def differing(self) -> int:
        """Pairs that differ."""
        return self.all.differing

    @property
    def mirrored(self) -> int:
        """Copies that were sent and whose end is known."""
        return self.all.pairs + self.failed

    @property
    def odd_pairs(self) -> int:
        """Pairs with a NaN or an infinity that is not the same on the other side, of the output that has most."""
        return max((output.non_finite for output in self.outputs.values()), default=0)

    @property
    def odd_originals(self) -> int:
        """Of these, the ones in which the original has such a value, or nobody counted which side it was."""
        return max((output.non_finite - output.copy_non_finite for output in self.outputs.values()), default=0)

    @property
    def odd_copies(self) -> int:
        """The same of copies."""
        return max((output.non_finite - output.original_non_finite for output in self.outputs.values()), default=0)

    @property
    def not_finite_copies(self) -> int:
        """Pairs whose copy has a NaN or an infinity, whatever the original has, of the output that has most."""
        return max((output.both_non_finite + output.copy_non_finite for output in self.outputs.values()), default=0)

    def __add__(self, other: Comparison) -> Comparison:
        outputs, slices = dict(self.outputs), dict(self.slices)
        for name, output in other.outputs.items():
            outputs[name] = outputs[name] + output if name in outputs else output
        for name, counts in other.slices.items():
            slices[name] = slices[name] + counts if name in slices else counts
        return Comparison(
            self.all + other.all,
            self.failed + other.failed,
            self.dropped + other.dropped,
            self.skipped + other.skipped,
            self.original + other.original,
            self.copy + other.copy,
            outputs,
            slices,
        )

    def __sub__(self, earlier: Comparison) -> Comparison:
        """Return what was added since ``earlier``, an older state of the same counts."""
        nothing, none = OutputComparison(), PairCounts()
        outputs = {name: output - earlier.outputs.get(name, nothing) for name, output in self.outputs.items()}
        slices = {name: counts - earlier.slices.get(name, none) for name, counts in self.slices.items()}
        return Comparison(
            self.all - earlier.all,
            self.failed - earlier.failed,
            self.dropped - earlier.dropped,
            self.skipped - earlier.skipped,
            self.original - earlier.original,
            self.copy - earlier.copy,
            {name: output for name, output in outputs.items() if output != nothing},
            {name: counts for name, counts in slices.items() if counts != none},
        )

    def absorbing(self, added: Comparison) -> Comparison:
        """Return the sum with bounded slices: those that are here stay, new ones beyond the bound go to ``OTHER``."""
        return replace(self + added, slices=_bounded_sum(self.slices, added.slices))

    def grew_from(self, earlier: Comparison) -> bool:
        """Return whether the counts can have grown out of earlier ones."""
        nothing, none = OutputComparison(), PairCounts()
        return (
            self.all.grew_from(earlier.all)
            and earlier.failed <= self.failed
            and earlier.dropped <= self.dropped
            and earlier.skipped <= self.skipped
            and _latency_grew(earlier.original, self.original)
            and _latency_grew(earlier.copy, self.copy)
            and all(self.outputs.get(name, nothing).grew_from(output) for name, output in earlier.outputs.items())
            and all(self.slices.get(name, none).grew_from(counts) for name, counts in earlier.slices.items())
        )


def _bounded_sum(left: Mapping[str, PairCounts], right: Mapping[str, PairCounts]) -> dict[str, PairCounts]:
    total = dict(left)
    named = sum(name != OTHER for name in total)
    # Of those that are new, the ones with most pairs have a place of their own; the order of names decides a tie.
    for name, counts in sorted(right.items(), key=lambda item: (-item[1].pairs, item[0])):
        if name not in total and name != OTHER:
            if named == MAX_SLICES:
                name = OTHER  # noqa: PLW2901 - counted under another name
            else:
                named += 1
        total[name] = total[name] + counts if name in total else counts
    return total


def _latency_grew(earlier: LatencyHistogram, later: LatencyHistogram) -> bool:
    return all(count <= later.counts.get(bucket, 0) for bucket, count in earlier.counts.items())
