"""A record of the audit log holds so much of a text and no more, also one that was stored before there was a bound."""

import json
from dataclasses import asdict

from services.controller.storage.audit_documents import decode_record, encode_record
from services.core.rollouts.audit import MAX_REASON
from tests.fakes.audit_records import record_of


def test_a_text_that_is_too_long_is_cut_and_says_so() -> None:
    record = record_of(model="m" * 300, rollout="r" * 301, actor="a" * 201, reason="x" * (MAX_REASON + 1))
    assert [len(text or "") for text in (record.model, record.rollout, record.actor, record.reason)] == [
        *(255, 300, 200),
        MAX_REASON,
    ]
    assert record.reason == "x" * (MAX_REASON - 1) + "\N{HORIZONTAL ELLIPSIS}"
    whole = record_of(model="m" * 255, rollout=None, actor="a" * 200, reason="x" * MAX_REASON)
    assert (whole.model, whole.actor, whole.reason) == ("m" * 255, "a" * 200, "x" * MAX_REASON)


def test_what_was_stored_without_a_bound_is_read_with_one() -> None:
    document = json.loads(encode_record(record_of())) | {"reason": "x" * 1_000_000}
    read = decode_record(json.dumps(document))
    assert len(read.reason) == MAX_REASON
    assert decode_record(encode_record(read)) == read
    assert asdict(read)["actor"] == "ada"
