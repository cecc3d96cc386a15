import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.core.counts.comparison import Comparison, OutputComparison, PairCounts
from services.core.counts.difference import DifferenceHistogram
from services.core.counts.histogram import LatencyHistogram
from services.core.counts.tally import Tally
from services.core.counts.value_histogram import ValueHistogram
from services.core.rollouts.evidence import Evidence, Sighting

GENERATION = 5


def counts(requests: int) -> Tally:
    latency = LatencyHistogram()
    latency.observe(0.01, requests)
    return Tally(requests, 0, 0, latency, {"scores": (requests, 0)})


def sighting(sequence: int, stable: int, candidate: int = 0, served: int = GENERATION) -> Sighting:
    return Sighting(sequence, served, counts(stable), counts(candidate))


def absorb(evidence: Evidence, **seen: Sighting) -> Evidence:
    return evidence.absorb(seen, seen.keys(), GENERATION)


def test_the_first_report_of_a_worker_is_where_its_counting_begins() -> None:
    evidence = absorb(Evidence(), a=sighting(7, 1000, 50))
    assert (evidence.stable.requests, evidence.candidate.requests) == (0, 0)
    evidence = absorb(evidence, a=sighting(8, 1100, 60))
    assert (evidence.stable.requests, evidence.candidate.requests) == (100, 10)


def test_a_repeated_or_outrun_report_counts_nothing() -> None:
    evidence = absorb(absorb(Evidence(), a=sighting(1, 0)), a=sighting(3, 10))
    assert absorb(evidence, a=sighting(3, 10)) is evidence
    assert absorb(evidence, a=sighting(2, 5)) is evidence


def test_answers_under_another_weight_are_no_evidence() -> None:
    evidence = absorb(Evidence(), a=sighting(1, 0, served=GENERATION - 1))
    evidence = absorb(evidence, a=sighting(2, 100, served=GENERATION))
    assert evidence.stable.requests == 0
    evidence = absorb(evidence, a=sighting(3, 130, served=GENERATION + 1))
    assert evidence.stable.requests == 30


def test_counts_that_shrank_begin_anew() -> None:
    evidence = absorb(absorb(Evidence(), a=sighting(1, 100)), a=sighting(2, 40))
    assert evidence.stable.requests == 0
    assert absorb(evidence, a=sighting(3, 45)).stable.requests == 5


def test_a_worker_that_is_gone_is_forgotten_and_its_answers_stay() -> None:
    evidence = absorb(absorb(Evidence(), a=sighting(1, 0)), a=sighting(2, 10))
    evidence = evidence.absorb({}, {"b"}, GENERATION)
    assert not evidence.cursors
    assert evidence.stable.requests == 10


def test_a_worker_that_has_not_reported_yet_but_lives_is_remembered() -> None:
    evidence = absorb(Evidence(), a=sighting(1, 0))
    assert evidence.absorb({}, {"a"}, GENERATION) is evidence


def test_what_stable_gave_before_its_answers_count_is_known_all_the_same() -> None:
    def odd(sequence: int, requests: int, not_finite: int, served: int = GENERATION) -> Sighting:
        return Sighting(sequence, served, replace(counts(requests), non_finite=not_finite), Tally())

    evidence = absorb(Evidence(), a=odd(1, 1000, 3, GENERATION - 1))
    assert (evidence.stable.non_finite, evidence.stable_non_finite_before) == (0, 3)
    evidence = absorb(evidence, a=odd(2, 1100, 4))
    assert (evidence.stable.non_finite, evidence.stable_non_finite_before) == (0, 4), "given under another weight"
    evidence = absorb(evidence, a=odd(3, 1200, 6), b=odd(1, 50, 0))
    assert (evidence.stable.non_finite, evidence.stable_non_finite_before) == (2, 4)
    assert evidence.next_step().stable_non_finite_before == 6


def test_a_new_step_begins_with_no_answers_and_keeps_its_place_in_every_report() -> None:
    evidence = absorb(absorb(Evidence(), a=sighting(1, 0)), a=sighting(2, 10)).next_step()
    assert evidence.stable.requests == 0
    assert absorb(evidence, a=sighting(3, 12)).stable.requests == 2


def compared(pairs: int, failed: int = 0) -> Comparison:
    output = OutputComparison(pairs=pairs, absolute=DifferenceHistogram({0: pairs} if pairs else {}))
    all_ = PairCounts(pairs, pairs // 2)
    return Comparison(all_, failed, outputs={"scores": output}, slices={"tier=a": all_})


def mirrored(sequence: int, pairs: int, floor: int, failed: int = 0, served: int = GENERATION) -> Sighting:
    return Sighting(sequence, served, comparison=compared(pairs, failed), floor=compared(floor))


def test_copies_are_counted_once_like_answers() -> None:
    evidence = absorb(Evidence(), a=mirrored(1, 1000, 100), b=mirrored(1, 0, 0))
    assert (evidence.comparison, evidence.floor) == (Comparison(), Comparison())
    evidence = absorb(evidence, a=mirrored(2, 1010, 102, failed=1), b=mirrored(1, 0, 0))
    evidence = absorb(evidence, a=mirrored(2, 1010, 102, failed=1), b=mirrored(2, 4, 0))
    assert (evidence.comparison.pairs, evidence.comparison.differing, evidence.comparison.failed) == (14, 7, 1)
    assert evidence.comparison.mirrored == 15
    assert evidence.comparison.outputs["scores"].absolute.total == 14
    assert evidence.comparison.slices["tier=a"].pairs == 14
    assert (evidence.floor.pairs, evidence.floor.differing) == (2, 1)
    assert (evidence.next_step().comparison, evidence.next_step().floor) == (Comparison(), Comparison())


def test_copies_that_shrank_or_were_made_under_another_route_are_no_evidence() -> None:
    evidence = absorb(absorb(Evidence(), a=mirrored(1, 100, 0)), a=mirrored(2, 40, 0))
    assert evidence.comparison.pairs == 0
    assert absorb(evidence, a=mirrored(3, 45, 0)).comparison.pairs == 5
    other = absorb(absorb(Evidence(), a=mirrored(1, 0, 0, served=GENERATION - 1)), a=mirrored(2, 9, 9))
    assert (other.comparison.pairs, other.floor.pairs) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 9)), max_size=40), st.integers())
def test_lost_and_repeated_reports_change_nothing_in_the_sum(answers: list[tuple[str, int, int]], seed: int) -> None:
    chance = random.Random(seed)
    totals = dict.fromkeys("abc", (0, 0))
    sequence = 1
    evidence = absorb(Evidence(), **{name: sighting(1, 0) for name in "abc"})
    delivered = {name: sighting(1, 0) for name in "abc"}
    for name, stable, candidate in answers:
        totals[name] = (totals[name][0] + stable, totals[name][1] + candidate)
        sequence += 1
        if chance.random() < 0.6:  # else lost
            delivered[name] = sighting(sequence, *totals[name])
        for _ in range(chance.randrange(3)):  # not absorbed, once or twice
            evidence = absorb(evidence, **delivered)
    evidence = absorb(evidence, **{name: sighting(sequence + 1, *totals[name]) for name in "abc"})
    assert evidence.stable.requests == sum(stable for stable, _ in totals.values())
    assert evidence.candidate.requests == sum(candidate for _, candidate in totals.values())
    assert evidence.stable.latency.total == evidence.stable.requests


def test_distributions_that_shrank_begin_anew_and_others_count_what_was_added() -> None:
    def seen(sequence: int, rows: int, *, squares: int) -> Sighting:
        tally = replace(counts(100), values={"mean:price": ValueHistogram({1700: rows}, squares)})
        return Sighting(sequence, GENERATION, tally, tally)

    evidence = absorb(absorb(Evidence(), a=seen(1, 10, squares=30)), a=seen(2, 15, squares=39))
    assert evidence.candidate.values == {"mean:price": ValueHistogram({1700: 5}, 9)}
    for shrunk in (seen(3, 14, squares=39), seen(3, 15, squares=38), sighting(3, 200, 200)):
        assert absorb(evidence, a=shrunk).candidate.values == evidence.candidate.values
