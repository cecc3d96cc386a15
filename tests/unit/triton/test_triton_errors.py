"""Triton's errors in our tree; the words are Triton's own."""

from __future__ import annotations

import orjson
import pytest

from services.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    PenstockError,
    Unavailable,
    Unimplemented,
    UpstreamFailure,
)
from services.triton.faults import ModelProcessDied, NotLoaded
from services.triton.triton_errors import error_from, without_traceback


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [
        (400, "unexpected shape for input 'X' for model 'm'. Expected [-1,4], got [1,3]", InvalidRequest),
        (400, "parameter keys starting with 'triton_' are reserved for Triton usage", InvalidRequest),
        (404, "Request for unknown model: 'm' version 9 is not found", NotLoaded),
        (404, "Request for unknown model: 'm' has no available versions", NotLoaded),
        (400, "Request for unknown model: 'm' is not found", NotLoaded),
        (404, "Not Found", NotFound),
        (503, "Exceeds maximum queue size", Overloaded),
        (503, "Request timeout expired", DeadlineExceeded),
        (503, "Server is stopping, scheduler for model has stopped accepting new inference requests", NotLoaded),
        (503, "something else is full", Unavailable),
        (500, "Stub process 'm_0_0' is not healthy.", ModelProcessDied),
        (429, "slow down", Overloaded),
        (500, "ONNX Runtime: something", UpstreamFailure),
        (501, "unsupported", Unimplemented),
        (302, "moved", UpstreamFailure),
    ],
)
def test_every_kind_of_error_has_its_class_and_keeps_its_words(
    status: int, words: str, expected: type[PenstockError]
) -> None:
    error = error_from(status, orjson.dumps({"error": words}))
    assert type(error) is expected
    assert str(error) == words


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"error": ""}'])
def test_an_error_without_words_says_so(body: bytes) -> None:
    assert "status 500" in str(error_from(500, body))


def test_words_that_are_not_json_are_kept_and_bounded() -> None:
    assert str(error_from(500, b"plain \xff words")) == "plain � words"
    assert len(str(error_from(500, b"x" * 100_000))) == 2000


def test_the_stack_of_a_python_based_model_is_not_part_of_the_words() -> None:
    stack = "\n\nAt:\n  /site-packages/session.py(778): _create\n  /backends/model.py(95): initialize\n"
    words = f"load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: Parsing failed.{stack};\n"
    assert str(error_from(400, orjson.dumps({"error": words}))) == (
        "load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: Parsing failed."
    )
    assert without_traceback(f"one{stack};\nversion 3: two{stack}") == "one;\nversion 3: two"
    assert without_traceback("no stack\n\nAt: the door") == "no stack\n\nAt: the door"
