"""What a chaos run says of what it saw: lost requests are told, and a run that could not see any is void."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from loadtest.chaos.journal import Entry, Journal
from loadtest.chaos.report import print_table
from loadtest.chaos.result import Promise, Result
from loadtest.connection import TIMED_OUT
from loadtest.record import Failure


def result(*entries: Entry) -> Result:
    journal = Journal()
    for entry in entries:
        journal.note(entry)
    summary = journal.between(0.0, 100.0)
    facts = {"share": summary.failed / max(1, summary.requests), "back_s": {"median": 1.5, "max": 2.0}, "kills": 3}
    return Result("SIGKILL", summary, 9.0, [Promise("0 failed", summary.failed == 0)], facts)


FINE = Entry(1.0, 0.004, "rest", None)
LOST = Entry(2.0, 0.5, "grpc", Failure("gRPC UNAVAILABLE", "no replica is well"))
LATE = Entry(3.0, 2.0, "rest", Failure(TIMED_OUT, "no answer before the deadline"))
STARVED = Entry(4.0, 0.9, "rest", None, late_s=0.8)


@pytest.mark.parametrize(
    ("entries", "kept", "void"),
    [((FINE,), True, False), ((FINE, LOST), False, False), ((FINE, STARVED), False, True)],
)
def test_a_promise_is_kept_only_where_it_could_have_been_broken(
    entries: tuple[Entry, ...], *, kept: bool, void: bool
) -> None:
    found = result(*entries)
    assert (found.kept, found.void) == (kept, void)


def test_every_kind_of_loss_is_in_the_document_with_an_example() -> None:
    document = json.loads(json.dumps(result(FINE, LOST, LATE).as_json()))
    assert (document["requests"], document["failed"], document["over_deadline"]) == (3, 2, 1)
    assert document["failures"] == {"grpc: gRPC UNAVAILABLE": 1, f"rest: {TIMED_OUT}": 1}
    assert document["examples"]["grpc: gRPC UNAVAILABLE"] == "no replica is well"
    assert document["promises"] == [{"promise": "0 failed", "kept": False}]


def test_the_table_says_what_was_not_kept_and_what_the_losses_were() -> None:
    out = io.StringIO()
    print_table(Console(file=out, width=160), [result(FINE, LOST), result(STARVED)])
    text = out.getvalue()
    for words in (
        "NO: 0 failed",
        "VOID: no CPU",
        "share 50.0000%",
        "median 1.5",
        "UNAVAILABLE: no replica",
    ):
        assert words in text
